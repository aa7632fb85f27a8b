//! What this proxy's own answers look like.

use serde::Deserialize;
use underpass_core::{
    access_log::AccessLogFilter,
    config::{DataSource, HeaderValueOption, SubstitutionFormatString},
};

/// `envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LocalReplyConfig {
    /// Changes to certain answers; the first that matches counts.
    pub mappers: Vec<ResponseMapper>,
    /// The body of all answers whose mapper has none of its own.
    pub body_format: Option<SubstitutionFormatString>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper`.
#[derive(Debug, Clone, Deserialize)]
pub struct ResponseMapper {
    /// Which answers.
    pub filter: AccessLogFilter,
    /// The status that they get.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// The body that they get, or that `%LOCAL_REPLY_BODY%` stands for in a format.
    #[serde(default)]
    pub body: Option<DataSource>,
    /// How the body is made.
    #[serde(default)]
    pub body_format_override: Option<SubstitutionFormatString>,
    /// Added to them.
    #[serde(default)]
    pub headers_to_add: Vec<HeaderValueOption>,
}
