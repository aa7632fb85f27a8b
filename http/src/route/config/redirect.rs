//! Answers that send a client elsewhere, and answers from here.

use serde::Deserialize;
use underpass_core::{
    config::{DataSource, SubstitutionFormatString},
    matcher::RegexMatchAndSubstitute,
};

/// `envoy.config.route.v3.RedirectAction`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RedirectAction {
    /// To the same place by https.
    pub https_redirect: Option<bool>,
    /// To the same place by this scheme.
    pub scheme_redirect: Option<String>,
    /// To another host.
    pub host_redirect: String,
    /// To another port.
    pub port_redirect: u32,
    /// To another path; a query in it replaces the request's.
    pub path_redirect: Option<String>,
    /// Replaces what the route matched of the path.
    pub prefix_rewrite: Option<String>,
    /// Replaces parts of the path.
    pub regex_rewrite: Option<RegexMatchAndSubstitute>,
    /// To another path, with command operators; a query in it replaces the request's.
    pub path_rewrite: Option<String>,
    /// The status.
    pub response_code: RedirectResponseCode,
    /// Whether the request's query is dropped.
    pub strip_query: bool,
}

/// `RedirectAction.RedirectResponseCode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectResponseCode {
    /// 301.
    #[default]
    MovedPermanently,
    /// 302.
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
    /// 308.
    PermanentRedirect,
}

/// `envoy.config.route.v3.DirectResponseAction`.
#[derive(Debug, Clone, Deserialize)]
pub struct DirectResponseAction {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Option<DataSource>,
    /// Makes the body that is sent; `%LOCAL_REPLY_BODY%` is the one above.
    pub body_format: Option<SubstitutionFormatString>,
}
