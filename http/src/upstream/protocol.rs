//! What upstream connections speak.

use http::Version;
use underpass_core::cluster::TrafficStats;

use crate::protocol_options::{ClusterProtocolOptions, UpstreamProtocol};

/// A protocol of upstream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// What is spoken to a cluster for a request that came as `downstream`.
    pub fn choose(options: &ClusterProtocolOptions, downstream: Option<Version>) -> Self {
        match (options.protocol, downstream) {
            (UpstreamProtocol::Http2, _) | (UpstreamProtocol::Downstream, Some(Version::HTTP_2)) => {
                Self::Http2
            }
            _ => Self::Http1,
        }
    }

    /// Counts a connection, also one that does not come about, as in Envoy.
    pub(super) fn count_connection(self, stats: &TrafficStats) {
        match self {
            Self::Http1 => stats.upstream_cx_http1_total.inc(),
            Self::Http2 => stats.upstream_cx_http2_total.inc(),
        }
    }

    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}
