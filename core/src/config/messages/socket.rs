//! Options of kernel sockets (`envoy/config/core/v3/socket_option.proto`, `address.proto`).

use serde::Deserialize;

use crate::config::ByteString;

/// `envoy.config.core.v3.SocketOption`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SocketOption {
    /// For the reader.
    pub description: String,
    /// As `level` of setsockopt(2).
    pub level: i64,
    /// As `optname` of setsockopt(2).
    pub name: i64,
    /// The value, if it is a number.
    pub int_value: Option<i64>,
    /// The value, if it is a structure.
    pub buf_value: Option<ByteString>,
    /// When it is set.
    pub state: SocketState,
}

/// `SocketOption.SocketState`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SocketState {
    /// Before bind(2).
    #[default]
    #[serde(rename = "STATE_PREBIND")]
    Prebind,
    /// Between bind(2) and listen(2).
    #[serde(rename = "STATE_BOUND")]
    Bound,
    /// After listen(2).
    #[serde(rename = "STATE_LISTENING")]
    Listening,
}

/// `envoy.config.core.v3.TcpKeepalive`; what is absent is left to the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TcpKeepalive {
    /// How many probes may stay without answer.
    pub keepalive_probes: Option<u32>,
    /// Seconds of silence before the first probe.
    pub keepalive_time: Option<u32>,
    /// Seconds between probes.
    pub keepalive_interval: Option<u32>,
}
