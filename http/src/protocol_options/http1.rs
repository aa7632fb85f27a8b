//! Options of HTTP/1 (`envoy.config.core.v3.Http1ProtocolOptions`).

use http::HeaderValue;
use serde::Deserialize;
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, required_one_of},
    matcher::StringMatcher,
};

/// `envoy.config.core.v3.Http1ProtocolOptions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Http1ProtocolOptions {
    /// Whether a request may name its target by a whole URL; yes unless set.
    pub allow_absolute_url: Option<bool>,
    /// Whether HTTP/1.0 and HTTP/0.9 are served.
    pub accept_http_10: bool,
    /// The host of a request of HTTP/1.0 that names none.
    pub default_host_for_http_10: String,
    /// How the names of headers are written.
    pub header_key_format: Option<HeaderKeyFormat>,
    /// Whether trailers pass.
    pub enable_trailers: bool,
    /// Whether a message may have both `content-length` and `transfer-encoding: chunked`, of which the latter counts.
    pub allow_chunked_length: bool,
    /// Whether a message that is not valid ends its stream only, not the connection.
    pub override_stream_error_on_invalid_http_message: Option<bool>,
    /// Whether requests to the cluster name their target by a whole URL.
    pub send_fully_qualified_url: bool,
    /// Whether a method may be any token.
    pub allow_custom_methods: bool,
    /// Upgrades that are ignored, as if the header were not there.
    pub ignore_http_11_upgrade: Vec<StringMatcher>,
}

/// `Http1ProtocolOptions.HeaderKeyFormat`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HeaderKeyFormat {
    /// `Content-Type`.
    pub proper_case_words: Option<ProperCaseWords>,
}

/// `Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords`; it has no fields.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ProperCaseWords {}

/// [`Http1ProtocolOptions`] with their defaults.
#[derive(Debug, Clone)]
pub struct Http1Settings {
    /// Whether a request may name its target by a whole URL.
    pub allow_absolute_url: bool,
    /// Whether HTTP/1.0 is served.
    pub accept_http_10: bool,
    /// The host of a request of HTTP/1.0 that names none.
    pub default_host_for_http_10: Option<HeaderValue>,
    /// Whether the names of headers are written with capitals: `Content-Type`.
    pub proper_case_words: bool,
    /// Whether trailers pass.
    pub enable_trailers: bool,
    /// Whether a message may have both `content-length` and `transfer-encoding: chunked`.
    pub allow_chunked_length: bool,
    /// Whether a message that is not valid ends its stream only.
    pub stream_error_on_invalid_http_message: bool,
    /// Whether requests to the cluster name their target by a whole URL.
    pub send_fully_qualified_url: bool,
    /// Whether a method may be any token, not only one of those that Envoy knows.
    pub allow_custom_methods: bool,
    /// Upgrades that are ignored.
    pub ignore_http_11_upgrade: Vec<StringMatcher>,
}

impl Http1Settings {
    /// What the options come to; `stream_error` is what holds for all versions of HTTP, `at` is where they stand.
    pub fn build(
        options: &Http1ProtocolOptions,
        stream_error: bool,
        at: &ConfigPath,
    ) -> Result<Self, BuildError> {
        if let Some(format) = &options.header_key_format {
            let set = [("proper_case_words", format.proper_case_words.is_some())];
            required_one_of("header_format", &set)
                .map_err(|message| BuildError::at(at.field("header_key_format"), message))?;
        }
        let host = &options.default_host_for_http_10;
        let host = (!host.is_empty()).then(|| HeaderValue::from_str(host)).transpose().map_err(|_| {
            BuildError::at(at.field("default_host_for_http_10"), format!("{host:?} is no name of a host"))
        })?;
        Ok(Self {
            allow_absolute_url: options.allow_absolute_url.unwrap_or(true),
            accept_http_10: options.accept_http_10,
            default_host_for_http_10: host,
            proper_case_words: options.header_key_format.is_some(),
            enable_trailers: options.enable_trailers,
            allow_chunked_length: options.allow_chunked_length,
            stream_error_on_invalid_http_message: options
                .override_stream_error_on_invalid_http_message
                .unwrap_or(stream_error),
            send_fully_qualified_url: options.send_fully_qualified_url,
            allow_custom_methods: options.allow_custom_methods,
            ignore_http_11_upgrade: options.ignore_http_11_upgrade.clone(),
        })
    }
}

impl Default for Http1Settings {
    fn default() -> Self {
        Self {
            allow_absolute_url: true,
            accept_http_10: false,
            default_host_for_http_10: None,
            proper_case_words: false,
            enable_trailers: false,
            allow_chunked_length: false,
            stream_error_on_invalid_http_message: false,
            send_fully_qualified_url: false,
            allow_custom_methods: false,
            ignore_http_11_upgrade: Vec::new(),
        }
    }
}
