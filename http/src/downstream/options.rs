//! What a server codec is told.

use std::time::Duration;

use super::CodecStats;
use crate::protocol_options::{HeadersWithUnderscoresAction, Http1Settings, Http2Settings};

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodecType {
    /// HTTP/2 if the connection begins with its preface, else HTTP/1.
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What a server codec is told; the same for all connections of a connection manager.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Which HTTP.
    pub codec: CodecType,
    /// `max_request_headers_kb`, in bytes.
    pub max_headers_bytes: usize,
    /// `max_headers_count`.
    pub max_headers_count: usize,
    /// `headers_with_underscores_action`.
    pub underscores: HeadersWithUnderscoresAction,
    /// `proxy_100_continue`: leaves `expect: 100-continue` to the upstream.
    pub proxy_100_continue: bool,
    /// How much of a body may wait.
    pub buffer_limit: usize,
    /// `delayed_close_timeout`: how long a connection that this side closes waits for the client to close as well.
    pub delayed_close_timeout: Option<Duration>,
    /// Whether the end of the client's side leaves a CONNECT of HTTP/1 open (`underpass.features.connect_half_close`).
    pub tunnel_half_close: bool,
    /// Whether a client's abort is noticed while nobody reads what it sends (`underpass.features.tunnel_abort`).
    pub notices_aborts: bool,
    /// HTTP/1.
    pub http1: Http1Settings,
    /// HTTP/2.
    pub http2: Http2Settings,
    /// What codecs count.
    pub stats: CodecStats,
}

impl ServerOptions {
    /// Envoy's defaults.
    pub fn new(stats: CodecStats) -> Self {
        Self {
            codec: CodecType::Auto,
            max_headers_bytes: 60 * 1024,
            max_headers_count: 100,
            underscores: HeadersWithUnderscoresAction::Allow,
            proxy_100_continue: false,
            buffer_limit: 1024 * 1024,
            delayed_close_timeout: Some(Duration::from_secs(1)),
            tunnel_half_close: true,
            notices_aborts: true,
            http1: Http1Settings::default(),
            http2: Http2Settings::default(),
            stats,
        }
    }
}
