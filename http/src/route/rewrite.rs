//! What a route makes of a request's path and host.

use http::{HeaderName, HeaderValue};
use underpass_core::matcher::RegexMatchAndSubstitute;

use super::matching::{PathMatcher, without_query};
use crate::RequestHead;

/// The path that the client asked for, where a route rewrites it.
pub(super) const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What becomes of the path.
#[derive(Debug, Clone)]
pub(super) enum PathRewrite {
    /// What the route matched of it is replaced.
    Prefix {
        /// How many bytes that are; `None` for all but the query.
        matched: Option<usize>,
        with: String,
    },
    /// All but the query, by a regex.
    Regex(RegexMatchAndSubstitute),
}

/// What becomes of the host.
#[derive(Debug, Clone)]
pub(super) enum HostRewrite {
    Literal(HeaderValue),
    /// The value of a header.
    Header(HeaderName),
    /// Made of the path.
    PathRegex(RegexMatchAndSubstitute),
}

impl PathRewrite {
    pub(super) fn prefix(matcher: &PathMatcher, with: &str) -> Self {
        let matched = match matcher {
            PathMatcher::Prefix { prefix, .. } | PathMatcher::SeparatedPrefix { prefix, .. } => {
                Some(prefix.len())
            }
            PathMatcher::Exact { .. } | PathMatcher::Regex(_) | PathMatcher::Connect => None,
        };
        Self::Prefix { matched, with: with.to_owned() }
    }

    /// The new path, with the query of the old one.
    pub(super) fn rewrite(&self, path: &str) -> String {
        let without_query = without_query(path);
        match self {
            Self::Prefix { matched, with } => {
                let rest = path.get(matched.unwrap_or(without_query.len())..).unwrap_or_default();
                format!("{with}{rest}")
            }
            Self::Regex(regex) => {
                let mut new = regex.replace_all(without_query);
                new.push_str(&path[without_query.len()..]);
                new
            }
        }
    }

    /// Rewrites the path of a request; one that cannot be a path stays as it is.
    pub(super) fn apply(&self, head: &mut RequestHead, keep_original: bool) {
        let Some(old) = &head.path else { return };
        let Ok(new) = self.rewrite(old.as_str()).parse() else { return };
        if keep_original && let Ok(old) = HeaderValue::from_str(old.as_str()) {
            head.headers.insert(ORIGINAL_PATH, old);
        }
        head.path = Some(new);
    }
}

impl HostRewrite {
    pub(super) fn apply(&self, head: &mut RequestHead, append_forwarded: bool) {
        let host = match self {
            Self::Literal(host) => Some(host.clone()),
            // The header is the client's, so of several values only the first is used.
            Self::Header(name) => head.headers.get(name).filter(|value| !value.is_empty()).cloned(),
            Self::PathRegex(regex) => {
                HeaderValue::try_from(regex.replace_all(without_query(head.path()))).ok()
            }
        };
        if let Some(host) = host {
            set_host(head, host, append_forwarded);
        }
    }
}

/// Gives a request another host; its own is noted in `x-forwarded-host` if that is wanted and not done already.
pub(super) fn set_host(head: &mut RequestHead, host: HeaderValue, append_forwarded: bool) {
    let old = std::mem::replace(&mut head.authority, host);
    if !append_forwarded || old.is_empty() {
        return;
    }
    let forwarded = match head.headers.get(FORWARDED_HOST).and_then(|value| value.to_str().ok()) {
        None | Some("") => Some(old),
        Some(hosts) => {
            let last = hosts.rsplit(',').find(|host| !host.is_empty()).unwrap_or_default();
            let old = old.to_str().unwrap_or_default();
            if last == old { None } else { HeaderValue::try_from(format!("{hosts},{old}")).ok() }
        }
    };
    if let Some(forwarded) = forwarded {
        head.headers.insert(FORWARDED_HOST, forwarded);
    }
}
