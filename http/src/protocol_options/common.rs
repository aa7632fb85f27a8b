//! Options that all versions of HTTP share (`envoy.config.core.v3.HttpProtocolOptions`).

use std::time::Duration;

use serde::Deserialize;
use underpass_core::config::Percent;

/// How long a connection without streams stays open, where nothing is set.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// How many headers a message may have, where nothing is set.
const DEFAULT_MAX_HEADERS_COUNT: usize = 100;
/// How many KiB the headers of an answer may have, where nothing is set. Measured; Envoy's documentation says 60.
const DEFAULT_MAX_RESPONSE_HEADERS_KB: usize = 80;

/// `envoy.config.core.v3.HttpProtocolOptions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CommonHttpProtocolOptions {
    /// How long a connection without streams stays open: one hour unless set, for ever if zero.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become before it drains.
    pub max_connection_duration: Option<Duration>,
    /// By how much of itself that time is randomly prolonged, at most.
    pub max_connection_duration_jitter: Option<Percent>,
    /// How many headers a message may have: 100 unless set.
    pub max_headers_count: Option<u32>,
    /// How many KiB the headers of an answer may have: 80 unless set.
    pub max_response_headers_kb: Option<u32>,
    /// How long a stream may last.
    pub max_stream_duration: Option<Duration>,
    /// What happens to headers with an underscore in their name.
    pub headers_with_underscores_action: HeadersWithUnderscoresAction,
    /// How many streams a connection may serve before it drains; zero is any number.
    pub max_requests_per_connection: Option<u32>,
}

/// `HttpProtocolOptions.HeadersWithUnderscoresAction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HeadersWithUnderscoresAction {
    /// They pass.
    #[default]
    Allow,
    /// The request is refused.
    RejectRequest,
    /// They are dropped.
    DropHeader,
}

/// [`CommonHttpProtocolOptions`] with their defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonSettings {
    /// How long a connection without streams stays open.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become; [`CommonSettings::connection_lifetime`] adds the jitter.
    pub max_connection_duration: Option<Duration>,
    /// The largest part of that time that is added to it, as a fraction.
    pub max_connection_duration_jitter: f64,
    /// How many headers a message may have.
    pub max_headers_count: usize,
    /// How many bytes the headers of an answer may have.
    pub max_response_headers_bytes: usize,
    /// How long a stream may last.
    pub max_stream_duration: Option<Duration>,
    /// What happens to headers with an underscore in their name.
    pub headers_with_underscores_action: HeadersWithUnderscoresAction,
    /// How many streams a connection may serve.
    pub max_requests_per_connection: Option<u32>,
}

impl CommonSettings {
    /// What the options come to.
    pub fn new(options: &CommonHttpProtocolOptions) -> Self {
        let unless_zero = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
        let in_kb = |kb: u32| kb as usize * 1024;
        let jitter = options.max_connection_duration_jitter.unwrap_or_default().value;
        Self {
            idle_timeout: unless_zero(options.idle_timeout.or(Some(DEFAULT_IDLE_TIMEOUT))),
            max_connection_duration: unless_zero(options.max_connection_duration),
            max_connection_duration_jitter: jitter.clamp(0.0, 100.0) / 100.0,
            max_headers_count: options
                .max_headers_count
                .map_or(DEFAULT_MAX_HEADERS_COUNT, |count| count as usize),
            max_response_headers_bytes: options
                .max_response_headers_kb
                .map_or(DEFAULT_MAX_RESPONSE_HEADERS_KB * 1024, in_kb),
            max_stream_duration: unless_zero(options.max_stream_duration),
            headers_with_underscores_action: options.headers_with_underscores_action,
            max_requests_per_connection: options.max_requests_per_connection.filter(|count| *count > 0),
        }
    }

    /// How old a connection that begins now may become.
    pub fn connection_lifetime(&self) -> Option<Duration> {
        let base = self.max_connection_duration?;
        Some(base + base.mul_f64(self.max_connection_duration_jitter * fastrand::f64()))
    }
}

impl Default for CommonSettings {
    fn default() -> Self {
        Self::new(&CommonHttpProtocolOptions::default())
    }
}
