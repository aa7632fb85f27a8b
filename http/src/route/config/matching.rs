//! Which requests a route is for.

use serde::Deserialize;
use underpass_core::{
    config::{NonEmptyString, RuntimeFractionalPercent},
    matcher::{HeaderMatcher, MetadataMatcher, RegexMatcher, StringMatcher},
};

/// `envoy.config.route.v3.RouteMatch`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RouteMatch {
    /// The path begins with this.
    pub prefix: Option<String>,
    /// The path, without its query, is this.
    pub path: Option<String>,
    /// The regex matches the whole path, without its query.
    pub safe_regex: Option<RegexMatcher>,
    /// It is a CONNECT.
    pub connect_matcher: Option<ConnectMatcher>,
    /// The path is this, or begins with this and a slash.
    pub path_separated_prefix: Option<String>,
    /// Whether case counts in the path; yes unless set. A regex says so itself.
    pub case_sensitive: Option<bool>,
    /// How many of the requests.
    pub runtime_fraction: Option<RuntimeFractionalPercent>,
    /// All of them have to match.
    pub headers: Vec<HeaderMatcher>,
    /// All of them have to match.
    pub query_parameters: Vec<QueryParameterMatcher>,
    /// It is a gRPC request.
    pub grpc: Option<GrpcRouteMatchOptions>,
    /// What is to be known of the client's certificate.
    pub tls_context: Option<TlsContextMatchOptions>,
    /// All of them have to match.
    pub dynamic_metadata: Vec<MetadataMatcher>,
    /// All of them have to match.
    pub cookies: Vec<CookieMatcher>,
    /// All of them have to match.
    pub filter_state: Vec<FilterStateMatcher>,
}

/// `RouteMatch.TlsContextMatchOptions`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct TlsContextMatchOptions {
    /// Whether the client presented one.
    pub presented: Option<bool>,
    /// Whether it is valid.
    pub validated: Option<bool>,
}

/// `envoy.config.route.v3.CookieMatcher`.
#[derive(Debug, Clone, Deserialize)]
pub struct CookieMatcher {
    /// The cookie. Of several of one name, the first counts.
    pub name: NonEmptyString,
    /// What its value has to be.
    pub string_match: StringMatcher,
    /// Whether the result is turned round.
    #[serde(default)]
    pub invert_match: bool,
}

/// `envoy.type.matcher.v3.FilterStateMatcher`.
#[derive(Debug, Clone, Deserialize)]
pub struct FilterStateMatcher {
    /// The object's name.
    pub key: NonEmptyString,
    /// What its text has to be.
    pub string_match: Option<StringMatcher>,
}

/// `RouteMatch.ConnectMatcher`; it has no fields.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ConnectMatcher {}

/// `RouteMatch.GrpcRouteMatchOptions`; it has no fields.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct GrpcRouteMatchOptions {}

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Debug, Clone, Deserialize)]
pub struct QueryParameterMatcher {
    /// The parameter. Of several of one name, the first counts.
    pub name: NonEmptyString,
    /// What its value has to be.
    pub string_match: Option<StringMatcher>,
    /// Whether it has to be there.
    pub present_match: Option<bool>,
}
