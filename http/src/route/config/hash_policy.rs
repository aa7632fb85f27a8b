//! What hash-based load balancing goes by.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{config::NonEmptyString, matcher::RegexMatchAndSubstitute};

/// `RouteAction.HashPolicy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HashPolicy {
    /// By a header.
    pub header: Option<HeaderHash>,
    /// By a cookie.
    pub cookie: Option<CookieHash>,
    /// By the client's address.
    pub connection_properties: Option<ConnectionPropertiesHash>,
    /// By a parameter of the query.
    pub query_parameter: Option<QueryParameterHash>,
    /// By an object in the filter state.
    pub filter_state: Option<FilterStateHash>,
    /// Whether it is the last one if there is a hash by then.
    pub terminal: bool,
}

/// `HashPolicy.Header`.
#[derive(Debug, Clone, Deserialize)]
pub struct HeaderHash {
    /// The header.
    pub header_name: NonEmptyString,
    /// What of its value counts.
    pub regex_rewrite: Option<RegexMatchAndSubstitute>,
}

/// `HashPolicy.Cookie`.
#[derive(Debug, Clone, Deserialize)]
pub struct CookieHash {
    /// The cookie.
    pub name: NonEmptyString,
    /// Makes a cookie where there is none, and for how long: for the session if zero.
    pub ttl: Option<Duration>,
    /// The path of a cookie that is made.
    #[serde(default)]
    pub path: String,
    /// Attributes of a cookie that is made.
    #[serde(default)]
    pub attributes: Vec<CookieAttribute>,
}

/// `HashPolicy.CookieAttribute`.
#[derive(Debug, Clone, Deserialize)]
pub struct CookieAttribute {
    /// Its name.
    pub name: NonEmptyString,
    /// Its value, if it has one.
    #[serde(default)]
    pub value: String,
}

/// `HashPolicy.ConnectionProperties`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ConnectionPropertiesHash {
    /// By the client's IP address.
    pub source_ip: bool,
}

/// `HashPolicy.QueryParameter`.
#[derive(Debug, Clone, Deserialize)]
pub struct QueryParameterHash {
    /// The parameter.
    pub name: NonEmptyString,
}

/// `HashPolicy.FilterState`.
#[derive(Debug, Clone, Deserialize)]
pub struct FilterStateHash {
    /// The object's name. One that has no hash does not count.
    pub key: NonEmptyString,
}
