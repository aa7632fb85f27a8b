//! Where connections come in: `envoy.config.listener.v3.Listener`.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    access_log::AccessLog,
    config::{Address, ExtensionConfig, Metadata, SocketOption},
    listener_filter::ListenerFilterConfig,
};

use super::filter_chain::FilterChain;

/// `listener_filters_timeout` where nothing is set.
const LISTENER_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// Envoy's buffer limit for connections, in bytes, where nothing is set.
pub const DEFAULT_BUFFER_LIMIT: u32 = 1024 * 1024;

/// `envoy.config.listener.v3.Listener`.
///
/// A listener has an `address`, or it is an `internal_listener`, whose name is its address. The old form of the latter, an
/// `envoy_internal_address` as `address`, is accepted too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// The name by which it is updated and, if it is internal, reached. Without one, the address serves as name.
    pub name: String,
    /// Where it listens.
    pub address: Option<Address>,
    /// Where it listens as well.
    pub additional_addresses: Vec<AdditionalAddress>,
    /// Set if it is reached from within the process only.
    pub internal_listener: Option<InternalListenerConfig>,
    /// The name in stats, `listener.<stat_prefix>`; empty, the address is used.
    pub stat_prefix: String,
    /// What connections go through; which chain, its match decides.
    pub filter_chains: Vec<FilterChain>,
    /// What connections go through that no chain matches.
    pub default_filter_chain: Option<FilterChain>,
    /// What inspects a connection before a chain is chosen.
    pub listener_filters: Vec<ExtensionConfig<dyn ListenerFilterConfig>>,
    /// How long the listener filters may take; zero is for ever.
    pub listener_filters_timeout: Option<Duration>,
    /// Whether a connection goes on without what a late listener filter would have found out.
    pub continue_on_listener_filters_timeout: bool,
    /// A soft limit, in bytes, on what is buffered for a connection in each direction.
    pub per_connection_buffer_limit_bytes: Option<u32>,
    /// Data for filters and formatters.
    pub metadata: Metadata,
    /// Whether clients or services of this host connect here.
    pub traffic_direction: TrafficDirection,
    /// Loggers for every connection, those that no filter chain served included.
    pub access_log: Vec<AccessLog>,
    /// Options of the listening sockets.
    pub socket_options: Vec<SocketOption>,
    /// The queue of connections that are not accepted yet; absent, the system's limit.
    pub tcp_backlog_size: Option<u32>,
    /// `IP_TRANSPARENT`.
    pub transparent: Option<bool>,
    /// `IP_FREEBIND`.
    pub freebind: Option<bool>,
    /// `TCP_FASTOPEN`: the length of its queue; zero turns it off.
    pub tcp_fast_open_queue_length: Option<u32>,
    /// Whether each worker has a listening socket of its own (`SO_REUSEPORT`).
    pub enable_reuse_port: Option<bool>,
    /// The same (deprecated); it only ever asked for what is the default now.
    pub reuse_port: bool,
    /// How connections are spread over the workers; absent, the kernel decides.
    pub connection_balance_config: Option<ConnectionBalanceConfig>,
    /// How many connections a worker accepts at once before it looks after others.
    pub max_connections_to_accept_per_socket_event: Option<u32>,
    /// Whether to bind at all; a listener that does not gets connections from one with `use_original_dst`.
    pub bind_to_port: Option<bool>,
    /// The same (deprecated).
    pub deprecated_v1: DeprecatedV1,
    /// Whether a connection goes to the listener that has its original destination as address.
    pub use_original_dst: Option<bool>,
    /// Whether connections are exempt from the global limit.
    pub ignore_global_conn_limit: bool,
    /// Multipath TCP.
    pub enable_mptcp: bool,
}

impl Listener {
    /// `per_connection_buffer_limit_bytes`, 1 MiB by default.
    pub fn buffer_limit_or_default(&self) -> u32 {
        self.per_connection_buffer_limit_bytes.unwrap_or(DEFAULT_BUFFER_LIMIT)
    }

    /// How long the listener filters may take: 15 s by default, `None` for ever.
    pub fn listener_filters_timeout_or_default(&self) -> Option<Duration> {
        Some(self.listener_filters_timeout.unwrap_or(LISTENER_FILTERS_TIMEOUT))
            .filter(|timeout| !timeout.is_zero())
    }

    /// Whether each worker has a listening socket of its own: yes by default.
    pub fn reuse_port_or_default(&self) -> bool {
        self.enable_reuse_port.unwrap_or(true)
    }

    /// Whether the listener binds: yes by default. The deprecated place counts as well.
    pub fn bind_to_port_or_default(&self) -> bool {
        self.bind_to_port.unwrap_or(true) && self.deprecated_v1.bind_to_port.unwrap_or(true)
    }
}

/// `envoy.config.listener.v3.AdditionalAddress`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AdditionalAddress {
    /// Where.
    pub address: Option<Address>,
    /// Options of this listening socket, instead of the listener's.
    pub socket_options: Option<SocketOptionsOverride>,
}

/// `envoy.config.core.v3.SocketOptionsOverride`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SocketOptionsOverride {
    /// The options; none at all if empty.
    pub socket_options: Vec<SocketOption>,
}

/// `envoy.config.listener.v3.Listener.InternalListenerConfig`; being there is all it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct InternalListenerConfig {}

/// `envoy.config.core.v3.TrafficDirection`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// From others to services of this host.
    Inbound,
    /// From services of this host to others.
    Outbound,
}

/// `envoy.config.listener.v3.Listener.ConnectionBalanceConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionBalanceConfig {
    /// Each new connection goes to the worker that has the fewest.
    ExactBalance(ExactBalance),
}

/// `envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance`; it has no fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ExactBalance {}

/// `envoy.config.listener.v3.Listener.DeprecatedV1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DeprecatedV1 {
    /// See [`Listener::bind_to_port`].
    pub bind_to_port: Option<bool>,
}
