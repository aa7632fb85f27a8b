//! What a route makes of a request's path and host.

use http::{HeaderName, HeaderValue};
use underpass_core::{formatter::Formatter, matcher::RegexMatchAndSubstitute, stream_info::StreamInfo};

use super::{
    format,
    matching::{PathMatcher, starts_with, without_query},
};
use crate::RequestHead;

/// The path that the client asked for, where a route rewrites it.
pub(super) const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// The host that the client asked for, where a route rewrites it.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What becomes of the path.
#[derive(Debug)]
pub(super) enum PathRewrite {
    /// What the route matched of it is replaced.
    Prefix {
        /// What that is; `None` for all but the query.
        matched: Option<Matched>,
        with: String,
    },
    /// All but the query, by a regex.
    Regex(RegexMatchAndSubstitute),
    /// All but the query is replaced.
    Format(Formatter),
}

/// The start of a path that a route goes by.
#[derive(Debug)]
pub(super) struct Matched {
    prefix: Box<str>,
    case_sensitive: bool,
}

/// What becomes of the host.
#[derive(Debug)]
pub(super) enum HostRewrite {
    Literal(HeaderValue),
    /// The value of a header.
    Header(Box<str>),
    /// Made of the path.
    PathRegex(RegexMatchAndSubstitute),
    Format(Formatter),
}

impl PathRewrite {
    pub(super) fn prefix(matcher: &PathMatcher, with: &str) -> Self {
        let matched = match matcher {
            PathMatcher::Prefix { prefix, case_sensitive }
            | PathMatcher::SeparatedPrefix { prefix, case_sensitive } => {
                Some(Matched { prefix: prefix.clone(), case_sensitive: *case_sensitive })
            }
            PathMatcher::Exact { .. } | PathMatcher::Regex(_) | PathMatcher::Connect => None,
        };
        Self::Prefix { matched, with: with.to_owned() }
    }

    /// The new path, with the query of the old one. None where the path does not begin with what it is matched by: with
    /// `ignore_path_parameters_in_path_matching`, `/a;b/c` is matched as `/a/c`.
    pub(super) fn rewrite(&self, path: &str, head: &RequestHead, info: &StreamInfo) -> Option<String> {
        let (start, query) = path.split_at(without_query(path).len());
        Some(match self {
            Self::Prefix { matched: Some(matched), with } => {
                let rest = path.get(matched.prefix.len()..)?;
                if !starts_with(path, &matched.prefix, matched.case_sensitive) {
                    return None;
                }
                format!("{with}{rest}")
            }
            Self::Prefix { matched: None, with } => format!("{with}{query}"),
            Self::Regex(regex) => regex.replace_all(start) + query,
            Self::Format(format) => format::of_request(format, head, info) + query,
        })
    }

    /// Rewrites the path of a request; one that cannot be a path stays as it is.
    pub(super) fn apply(&self, head: &mut RequestHead, info: &StreamInfo, keep_original: bool) {
        let Some(old) = &head.path else { return };
        let Some(new) = self.rewrite(old.as_str(), head, info).and_then(|new| new.parse().ok()) else {
            return;
        };
        if keep_original && let Ok(old) = HeaderValue::from_str(old.as_str()) {
            head.headers.insert(ORIGINAL_PATH, old);
        }
        head.path = Some(new);
    }
}

impl HostRewrite {
    pub(super) fn apply(
        &self,
        head: &mut RequestHead,
        info: &StreamInfo,
        append_forwarded: bool,
        keep_original: bool,
    ) {
        let host = match self {
            Self::Literal(host) => Some(host.clone()),
            // The header is the client's, so of several values only the first is used.
            Self::Header(name) => {
                head.get(name).filter(|value| !value.is_empty()).and_then(|value| value.parse().ok())
            }
            Self::PathRegex(regex) => {
                HeaderValue::try_from(regex.replace_all(without_query(head.path()))).ok()
            }
            Self::Format(format) => HeaderValue::try_from(format::of_request(format, head, info)).ok(),
        };
        if let Some(host) = host {
            set_host(head, host, append_forwarded, keep_original);
        }
    }
}

/// Gives a request another host. Its own is noted in `x-envoy-original-host` and, if that is wanted and not done already, in
/// `x-forwarded-host`.
pub(super) fn set_host(
    head: &mut RequestHead,
    host: HeaderValue,
    append_forwarded: bool,
    keep_original: bool,
) {
    let old = std::mem::replace(&mut head.authority, host);
    if append_forwarded && !old.is_empty() {
        append_forwarded_host(head, &old);
    }
    if keep_original {
        head.headers.insert(ORIGINAL_HOST, old);
    }
}

fn append_forwarded_host(head: &mut RequestHead, host: &HeaderValue) {
    let present = head.headers.get_all(FORWARDED_HOST).iter().filter_map(|value| value.to_str().ok());
    let present = present.collect::<Vec<_>>().join(",");
    let last = present.rsplit(',').find(|host| !host.is_empty());
    let forwarded = match last {
        None => Ok(host.clone()),
        Some(last) if host == last => return,
        Some(_) => HeaderValue::try_from(format!("{present},{}", host.to_str().unwrap_or_default())),
    };
    if let Ok(forwarded) = forwarded {
        head.headers.insert(FORWARDED_HOST, forwarded);
    }
}
