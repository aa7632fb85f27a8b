//! Options of the sockets of upstream connections.

use serde::Deserialize;
use underpass_core::config::{SocketAddress, SocketOption};

/// `envoy.config.core.v3.BindConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BindConfig {
    /// The address connections come from; port 0 leaves the port to the kernel.
    pub source_address: Option<SocketAddress>,
    /// The address of the other IP version, for destinations of that version; at most one.
    pub extra_source_addresses: Vec<ExtraSourceAddress>,
    /// `IP_FREEBIND`.
    pub freebind: Option<bool>,
    /// Options of the sockets.
    pub socket_options: Vec<SocketOption>,
}

/// `envoy.config.core.v3.ExtraSourceAddress`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ExtraSourceAddress {
    /// The address.
    pub address: Option<SocketAddress>,
}
