//! What a cluster's connections shall be like.

use std::time::Duration;

use http::Version;
use underpass_core::cluster::ClusterInfo;

/// A protocol of upstream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl UpstreamProtocol {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// How the protocol is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolChoice {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// That of the downstream (`use_downstream_protocol_config`).
    AsDownstream,
}

/// What a cluster's HTTP connections shall be like (`HttpProtocolOptions`).
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Which protocol is spoken.
    pub protocol: ProtocolChoice,
    /// How long a connection without requests is kept.
    pub idle_timeout: Option<Duration>,
    /// How long a connection is used for new requests.
    pub max_connection_duration: Option<Duration>,
    /// How many requests a connection may carry.
    pub max_requests_per_connection: Option<u32>,
    /// The most bytes of an answer's head.
    pub max_response_headers_kb: u32,
    /// The most headers of an answer.
    pub max_headers_count: u32,
    /// For HTTP/2.
    pub http2: Http2Settings,
}

/// `Http2ProtocolOptions` of upstream connections.
#[derive(Debug, Clone)]
pub struct Http2Settings {
    /// The most streams of one connection; the peer may allow less.
    pub max_concurrent_streams: u32,
    /// How much a stream may receive ahead of its reader.
    pub initial_stream_window_size: u32,
    /// The same of a connection.
    pub initial_connection_window_size: u32,
    /// The memory of header compression.
    pub hpack_table_size: u32,
    /// Pings that tell whether the peer is alive.
    pub keepalive: Option<KeepaliveSettings>,
}

/// `KeepaliveSettings`.
#[derive(Debug, Clone)]
pub struct KeepaliveSettings {
    /// How often to ping; never, if none.
    pub interval: Option<Duration>,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// By how much of itself the interval is randomly prolonged, in percent.
    pub interval_jitter_percent: f64,
    /// Ping before a request, if the connection was idle for this long.
    pub connection_idle_interval: Option<Duration>,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            protocol: ProtocolChoice::Http1,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_requests_per_connection: None,
            max_response_headers_kb: 60,
            max_headers_count: 100,
            http2: Http2Settings::default(),
        }
    }
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 1024,
            initial_stream_window_size: 16 * 1024 * 1024,
            initial_connection_window_size: 24 * 1024 * 1024,
            hpack_table_size: 4096,
            keepalive: None,
        }
    }
}

impl UpstreamSettings {
    /// Those of a cluster.
    pub fn of(cluster: &ClusterInfo) -> Self {
        let mut settings = Self::default();
        let options = cluster
            .extension_protocol_options
            .get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions")
            .map(|options| options.node());
        if let Some(options) = options {
            let explicit = options.get("explicit_http_config");
            if explicit.is_some_and(|explicit| explicit.get("http2_protocol_options").is_some()) {
                settings.protocol = ProtocolChoice::Http2;
            }
            if options.get("use_downstream_protocol_config").is_some() {
                settings.protocol = ProtocolChoice::AsDownstream;
            }
        }
        settings
    }

    /// The protocol for a request that came as `downstream`.
    pub fn protocol_for(&self, downstream: Option<Version>) -> UpstreamProtocol {
        match self.protocol {
            ProtocolChoice::Http1 => UpstreamProtocol::Http1,
            ProtocolChoice::Http2 => UpstreamProtocol::Http2,
            ProtocolChoice::AsDownstream => match downstream {
                Some(Version::HTTP_2) => UpstreamProtocol::Http2,
                _ => UpstreamProtocol::Http1,
            },
        }
    }
}
