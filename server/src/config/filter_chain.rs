//! What a connection goes through, and which connections: `envoy.config.listener.v3.FilterChain`.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    config::{CidrRange, ExtensionConfig, Metadata},
    network_filter::NetworkFilterConfig,
    transport_socket::DownstreamTransportSocketConfig,
};

/// `envoy.config.listener.v3.FilterChain`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FilterChain {
    /// Its name, by which an update finds it again; empty or unique in its listener.
    pub name: String,
    /// Which connections it is for; absent or empty, for all.
    pub filter_chain_match: FilterChainMatch,
    /// The network filters, in order; the last one is terminal.
    pub filters: Vec<ExtensionConfig<dyn NetworkFilterConfig>>,
    /// What wraps the connection, TLS for example; absent, nothing.
    pub transport_socket: Option<ExtensionConfig<dyn DownstreamTransportSocketConfig>>,
    /// How long the transport socket may take to be ready; absent or zero, for ever.
    pub transport_socket_connect_timeout: Option<Duration>,
    /// Data for filters and formatters.
    pub metadata: Metadata,
}

/// `envoy.config.listener.v3.FilterChainMatch`: all that is set has to hold; within a list, one element is enough.
///
/// Envoy looks at the fields in the order of this struct, and at each takes only the most specific chains on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FilterChainMatch {
    /// The port the client meant to reach.
    pub destination_port: Option<u16>,
    /// The address the client meant to reach.
    pub prefix_ranges: Vec<CidrRange>,
    /// The server name (SNI), in lower case; `*.example.com` stands for all names below `example.com`.
    pub server_names: Vec<String>,
    /// What a listener filter found: `tls` or `raw_buffer`.
    pub transport_protocol: String,
    /// One of the protocols that the client offers (ALPN).
    pub application_protocols: Vec<String>,
    /// The address of the peer, whatever a listener filter says about the client's.
    pub direct_source_prefix_ranges: Vec<CidrRange>,
    /// Where the client is.
    pub source_type: ConnectionSourceType,
    /// The client's address.
    pub source_prefix_ranges: Vec<CidrRange>,
    /// The client's port.
    pub source_ports: Vec<u16>,
}

/// `envoy.config.listener.v3.FilterChainMatch.ConnectionSourceType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionSourceType {
    /// Anywhere.
    #[default]
    Any,
    /// On this host.
    SameIpOrLoopback,
    /// On another host.
    External,
}
