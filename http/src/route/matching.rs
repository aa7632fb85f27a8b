//! Whether a route is for a request.

use std::sync::Arc;

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, RuntimeFractionalPercent},
    matcher::{HeaderMatcher, MetadataMatcher, RegexMatcher},
    runtime::Runtime,
    stream_info::StreamInfo,
};

use super::config;
use crate::{RequestHead, local_reply::is_grpc};

/// What a request has to be like.
pub(super) struct RouteMatcher {
    pub(super) path: PathMatcher,
    fraction: Option<Fraction>,
    grpc: bool,
    headers: Vec<HeaderMatcher>,
    query_parameters: Vec<config::QueryParameterMatcher>,
    cookies: Vec<config::CookieMatcher>,
    tls_context: Option<config::TlsContextMatchOptions>,
    dynamic_metadata: Vec<MetadataMatcher>,
    filter_state: Vec<config::FilterStateMatcher>,
}

/// What its path has to be like.
#[derive(Debug)]
pub(super) enum PathMatcher {
    Prefix {
        prefix: Box<str>,
        case_sensitive: bool,
    },
    Exact {
        path: Box<str>,
        case_sensitive: bool,
    },
    Regex(RegexMatcher),
    SeparatedPrefix {
        prefix: Box<str>,
        case_sensitive: bool,
    },
    /// It has to be a CONNECT.
    Connect,
}

struct Fraction {
    runtime: Arc<Runtime>,
    percent: RuntimeFractionalPercent,
}

impl RouteMatcher {
    pub(super) fn build(
        config: &config::RouteMatch,
        path: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            path: PathMatcher::build(config, path)?,
            fraction: config
                .runtime_fraction
                .clone()
                .map(|percent| Fraction { runtime: Arc::clone(&context.server.runtime), percent }),
            grpc: config.grpc.is_some(),
            headers: config.headers.clone(),
            query_parameters: config.query_parameters.clone(),
            cookies: config.cookies.clone(),
            tls_context: config.tls_context,
            dynamic_metadata: config.dynamic_metadata.clone(),
            filter_state: config.filter_state.clone(),
        })
    }

    /// Whether the request fulfils all conditions; `path` is its path without the query.
    pub(super) fn matches(&self, head: &RequestHead, path: &str, info: &StreamInfo, random: u64) -> bool {
        self.path.matches(head, path)
            && self.fraction.as_ref().is_none_or(|fraction| fraction.includes(random))
            && (!self.grpc || is_grpc(head))
            && self.headers.iter().all(|matcher| matches_header(matcher, head))
            && self.query_parameters.iter().all(|matcher| matches_query(matcher, head.path()))
            && self.cookies.iter().all(|matcher| matches_cookie(matcher, head))
            && self.tls_context.is_none_or(matches_tls)
            && self.matches_metadata(info)
            && self.filter_state.iter().all(|matcher| matches_filter_state(matcher, info))
    }

    fn matches_metadata(&self, info: &StreamInfo) -> bool {
        self.dynamic_metadata.is_empty() || {
            let metadata = info.dynamic_metadata.borrow();
            self.dynamic_metadata.iter().all(|matcher| matcher.matches(&metadata))
        }
    }
}

impl PathMatcher {
    fn build(config: &config::RouteMatch, path: &ConfigPath) -> Result<Self, BuildError> {
        let case_sensitive = config.case_sensitive.unwrap_or(true);
        if let Some(prefix) = &config.prefix {
            return Ok(Self::Prefix { prefix: prefix.as_str().into(), case_sensitive });
        }
        if let Some(path) = &config.path {
            return Ok(Self::Exact { path: path.as_str().into(), case_sensitive });
        }
        if let Some(regex) = &config.safe_regex {
            return Ok(Self::Regex(regex.clone()));
        }
        if let Some(prefix) = &config.path_separated_prefix {
            return Ok(Self::SeparatedPrefix { prefix: prefix.as_str().into(), case_sensitive });
        }
        if config.connect_matcher.is_some() {
            return Ok(Self::Connect);
        }
        let members = "prefix, path, safe_regex, connect_matcher, path_separated_prefix";
        Err(BuildError::at(path.clone(), format!("one of {members} must be set (path_specifier)")))
    }

    fn matches(&self, head: &RequestHead, path: &str) -> bool {
        // A CONNECT has no path, so only its own matcher can match it.
        if head.path.is_none() && !matches!(self, Self::Connect) {
            return false;
        }
        match self {
            Self::Prefix { prefix, case_sensitive } => starts_with(path, prefix, *case_sensitive),
            Self::Exact { path: wanted, case_sensitive } => {
                path.len() == wanted.len() && starts_with(path, wanted, *case_sensitive)
            }
            Self::Regex(regex) => regex.matches(path),
            Self::SeparatedPrefix { prefix, case_sensitive } => {
                starts_with(path, prefix, *case_sensitive)
                    && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
            }
            Self::Connect => head.is_connect(),
        }
    }
}

pub(super) fn starts_with(text: &str, prefix: &str, case_sensitive: bool) -> bool {
    let Some(start) = text.as_bytes().get(..prefix.len()) else { return false };
    if case_sensitive { start == prefix.as_bytes() } else { start.eq_ignore_ascii_case(prefix.as_bytes()) }
}

impl Fraction {
    fn includes(&self, random: u64) -> bool {
        self.runtime.snapshot().is_enabled(&self.percent, random)
    }
}

/// Whether the header that a condition is about fulfils it.
pub fn matches_header(matcher: &HeaderMatcher, head: &RequestHead) -> bool {
    let name = matcher.name();
    if name.starts_with(':') || name == "host" {
        return matcher.matches(head.get(name));
    }
    matcher.matches_any(head.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()))
}

fn matches_cookie(matcher: &config::CookieMatcher, head: &RequestHead) -> bool {
    let matches = cookie(head, &matcher.name).is_some_and(|value| matcher.string_match.matches(value));
    matches != matcher.invert_match
}

/// The value of a cookie, without quotation marks; of several, the first.
pub(super) fn cookie<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    let lines = head.headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies =
        lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    let (_, value) = cookies.find(|(key, _)| *key == name)?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// No client has presented a certificate: TLS does not end here.
fn matches_tls(options: config::TlsContextMatchOptions) -> bool {
    options.presented != Some(true) && options.validated != Some(true)
}

/// Whether the text of an object in the filter state fulfils the condition.
pub fn matches_filter_state(matcher: &config::FilterStateMatcher, info: &StreamInfo) -> bool {
    let state = info.filter_state.borrow();
    let text = state.get(&matcher.key).and_then(|object| object.serialize_as_string());
    text.is_some_and(|text| matcher.string_match.as_ref().is_some_and(|wanted| wanted.matches(&text)))
}

/// Whether a parameter in the path fulfils the condition.
pub fn matches_query(matcher: &config::QueryParameterMatcher, path: &str) -> bool {
    let value = query_parameter(path, &matcher.name);
    match (&matcher.string_match, matcher.present_match) {
        (Some(text), _) => value.is_some_and(|value| text.matches(value)),
        (None, present) => value.is_some() == present.unwrap_or(true),
    }
}

/// The value of a query parameter, as it is written; of several of one name, the first.
pub fn query_parameter<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let (_, query) = path.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// A path without its query and fragment.
pub(crate) fn without_query(path: &str) -> &str {
    path.find(['?', '#']).map_or(path, |end| &path[..end])
}
