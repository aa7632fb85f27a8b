//! Where connections go: `envoy.config.cluster.v3.Cluster`.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use underpass_core::{
    config::{Address, ConfigSource, ExtensionConfig, Metadata, PositiveDuration, TcpKeepalive, TypedConfig},
    protocol_options::ProtocolOptionsConfig,
    transport_socket::UpstreamTransportSocketConfig,
};

use super::{
    circuit_breakers::CircuitBreakers,
    dns::{DnsLookupFamily, DnsResolutionConfig, RefreshRate},
    endpoint::ClusterLoadAssignment,
    listener::DEFAULT_BUFFER_LIMIT,
    load_balancing::{
        CommonLbConfig, LbPolicy, LbSubsetConfig, LeastRequestLbConfig, MaglevLbConfig, OriginalDstLbConfig,
        RingHashLbConfig, RoundRobinLbConfig,
    },
    socket::BindConfig,
};

/// `connect_timeout` where nothing is set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// `dns_refresh_rate` where nothing is set.
const DNS_REFRESH_RATE: Duration = Duration::from_secs(5);
/// `cleanup_interval` where nothing is set.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Its name, unique among all clusters.
    pub name: String,
    /// Its name in stats; empty, `name`.
    pub alt_stat_name: String,
    /// How its hosts are found.
    #[serde(rename = "type")]
    pub discovery_type: DiscoveryType,
    /// Its hosts, or the names they are found by.
    pub load_assignment: Option<ClusterLoadAssignment>,
    /// Where the hosts of a cluster of type [`DiscoveryType::Eds`] come from.
    pub eds_cluster_config: EdsClusterConfig,
    /// How long connecting may take.
    pub connect_timeout: Option<Duration>,
    /// A soft limit, in bytes, on what is buffered for a connection in each direction.
    pub per_connection_buffer_limit_bytes: Option<u32>,
    /// How a host is picked.
    pub lb_policy: LbPolicy,
    /// Options of [`LbPolicy::RingHash`].
    pub ring_hash_lb_config: Option<RingHashLbConfig>,
    /// Options of [`LbPolicy::Maglev`].
    pub maglev_lb_config: Option<MaglevLbConfig>,
    /// Options of [`LbPolicy::LeastRequest`].
    pub least_request_lb_config: Option<LeastRequestLbConfig>,
    /// Options of [`LbPolicy::RoundRobin`].
    pub round_robin_lb_config: Option<RoundRobinLbConfig>,
    /// Options of [`DiscoveryType::OriginalDst`].
    pub original_dst_lb_config: Option<OriginalDstLbConfig>,
    /// How long a host of [`DiscoveryType::OriginalDst`] stays unused before it goes.
    pub cleanup_interval: Option<PositiveDuration>,
    /// Options of every policy.
    pub common_lb_config: CommonLbConfig,
    /// Picking among the hosts with certain metadata only.
    pub lb_subset_config: LbSubsetConfig,
    /// Limits on connections and requests.
    pub circuit_breakers: CircuitBreakers,
    /// What wraps connections, TLS for example; absent, nothing.
    pub transport_socket: Option<ExtensionConfig<dyn UpstreamTransportSocketConfig>>,
    /// Where connections come from.
    pub upstream_bind_config: Option<BindConfig>,
    /// Options of connections.
    pub upstream_connection_options: UpstreamConnectionOptions,
    /// Data for filters, formatters and the next hop.
    pub metadata: Metadata,
    /// Options of protocols that other crates implement, by name of the extension.
    pub typed_extension_protocol_options: BTreeMap<String, TypedConfig<dyn ProtocolOptionsConfig>>,
    /// How often names are resolved.
    pub dns_refresh_rate: Option<Duration>,
    /// How often names are resolved while that fails.
    pub dns_failure_refresh_rate: Option<RefreshRate>,
    /// A random time, up to this long, that is added to each interval.
    pub dns_jitter: Option<Duration>,
    /// Whether names are resolved anew when their records expire, instead of at `dns_refresh_rate`.
    pub respect_dns_ttl: bool,
    /// Which addresses of a name are used.
    pub dns_lookup_family: DnsLookupFamily,
    /// Name servers (deprecated in favour of `dns_resolution_config`).
    pub dns_resolvers: Vec<Address>,
    /// Name servers, and how to ask them.
    pub dns_resolution_config: Option<DnsResolutionConfig>,
    /// Whether name servers are asked by TCP (deprecated in favour of `dns_resolution_config`).
    pub use_tcp_for_dns_lookups: bool,
    /// Whether the process waits for the first resolution before it serves; yes by default.
    pub wait_for_warm_on_init: Option<bool>,
    /// Whether connections to a host end when it turns unhealthy.
    pub close_connections_on_host_health_failure: bool,
}

impl Cluster {
    /// `connect_timeout`, 5 s by default.
    pub fn connect_timeout_or_default(&self) -> Duration {
        self.connect_timeout.unwrap_or(CONNECT_TIMEOUT)
    }

    /// `per_connection_buffer_limit_bytes`, 1 MiB by default.
    pub fn buffer_limit_or_default(&self) -> u32 {
        self.per_connection_buffer_limit_bytes.unwrap_or(DEFAULT_BUFFER_LIMIT)
    }

    /// `dns_refresh_rate`, 5 s by default.
    pub fn dns_refresh_rate_or_default(&self) -> Duration {
        self.dns_refresh_rate.unwrap_or(DNS_REFRESH_RATE)
    }

    /// `cleanup_interval`, 5 s by default.
    pub fn cleanup_interval_or_default(&self) -> Duration {
        self.cleanup_interval.map_or(CLEANUP_INTERVAL, PositiveDuration::get)
    }

    /// The name under which endpoints are asked for.
    pub fn eds_service_name(&self) -> &str {
        let name = &self.eds_cluster_config.service_name;
        if name.is_empty() { &self.name } else { name }
    }

    /// The name in stats.
    pub fn observability_name(&self) -> &str {
        if self.alt_stat_name.is_empty() { &self.name } else { &self.alt_stat_name }
    }
}

/// `envoy.config.cluster.v3.Cluster.DiscoveryType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DiscoveryType {
    /// The hosts are those in the configuration.
    #[default]
    Static,
    /// Each name in the configuration stands for all its addresses, each one a host.
    StrictDns,
    /// The one name in the configuration is one host, whose address may change from connection to connection.
    LogicalDns,
    /// The hosts come from a file or a control plane.
    Eds,
    /// Each connection goes where it was meant to go before it was redirected to this process.
    OriginalDst,
}

/// `envoy.config.cluster.v3.Cluster.EdsClusterConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EdsClusterConfig {
    /// The source.
    pub eds_config: Option<ConfigSource>,
    /// The name of the cluster there; empty, its own.
    pub service_name: String,
}

/// `envoy.config.cluster.v3.UpstreamConnectionOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UpstreamConnectionOptions {
    /// TCP keepalive; absent, it is off.
    pub tcp_keepalive: Option<TcpKeepalive>,
}
