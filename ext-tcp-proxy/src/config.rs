//! The configuration (`envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto`).

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use underpass_core::{
    access_log::AccessLog,
    build_context::{BuildContext, BuildError},
    config::{Metadata, NonEmptyString, Percent},
    extension,
    network_filter::{ClusterReference, NetworkFilter, NetworkFilterConfig},
};

use crate::{filter::TcpProxyFilter, settings::Settings, tunneling::TunnelingConfig};

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
#[derive(Debug, Deserialize)]
pub struct TcpProxy {
    /// The middle of the names of its stats, `tcp.<stat_prefix>.…`.
    pub stat_prefix: NonEmptyString,
    /// The cluster; either this or `weighted_clusters` is set.
    pub cluster: Option<String>,
    /// Several clusters, of which one is picked for each attempt to connect.
    pub weighted_clusters: Option<WeightedClusters>,
    /// Accepted while it asks for nothing: clusters are not discovered on demand.
    pub on_demand: Option<OnDemand>,
    /// What the metadata of a host must hold, under `envoy.lb`.
    pub metadata_match: Option<Metadata>,
    /// How long a connection may be silent: one hour unless set, for ever if zero.
    pub idle_timeout: Option<Duration>,
    /// Where its connections are logged.
    #[serde(default)]
    pub access_log: Vec<AccessLog>,
    /// When they are logged, apart from their end.
    pub access_log_options: Option<AccessLogOptions>,
    /// The old place of `access_log_options.access_log_flush_interval`.
    pub access_log_flush_interval: Option<Duration>,
    /// The old place of `access_log_options.flush_access_log_on_connected`.
    #[serde(default)]
    pub flush_access_log_on_connected: bool,
    /// How often connecting is tried; once unless set.
    pub max_connect_attempts: Option<u32>,
    /// How long to wait between attempts; not at all unless set.
    pub backoff_options: Option<BackoffStrategy>,
    /// What hash-based load balancing goes by; at most one.
    #[serde(default)]
    pub hash_policy: Vec<HashPolicy>,
    /// How long a connection may last.
    pub max_downstream_connection_duration: Option<Duration>,
    /// By how much of itself that time is randomly prolonged, at most.
    pub max_downstream_connection_duration_jitter_percentage: Option<Percent>,
    /// When the upstream connection is opened.
    #[serde(default)]
    pub upstream_connect_mode: UpstreamConnectMode,
    /// How much is read from the client while there is no upstream connection; nothing unless set.
    pub max_early_data_bytes: Option<u32>,
    /// Sends the bytes through a tunnel: in a CONNECT or a POST to a host of the cluster, which is an HTTP proxy then.
    pub tunneling_config: Option<TunnelingConfig>,
}

/// `TcpProxy.WeightedCluster`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WeightedClusters {
    /// The clusters.
    pub clusters: Vec<ClusterWeight>,
}

/// `TcpProxy.WeightedCluster.ClusterWeight`.
#[derive(Debug, Deserialize)]
pub struct ClusterWeight {
    /// The cluster.
    pub name: NonEmptyString,
    /// Its share of the connections, in relation to the sum of all weights.
    pub weight: u32,
    /// What the metadata of a host must hold; goes over the filter's own `metadata_match`.
    pub metadata_match: Option<Metadata>,
}

/// `TcpProxy.OnDemand`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OnDemand {}

/// `TcpProxy.TcpAccessLogOptions`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct AccessLogOptions {
    /// Logs a connection again and again while it lives (`TcpPeriodic`).
    pub access_log_flush_interval: Option<Duration>,
    /// Logs a connection once there is an upstream connection (`TcpUpstreamConnected`).
    pub flush_access_log_on_connected: bool,
    /// Logs a connection when it is accepted (`TcpConnectionStart`).
    pub flush_access_log_on_start: bool,
}

/// `envoy.config.core.v3.BackoffStrategy`: exponential, with full jitter.
#[derive(Debug, Deserialize)]
pub struct BackoffStrategy {
    /// The longest first wait.
    pub base_interval: Duration,
    /// The longest wait; ten times the first one unless set.
    pub max_interval: Option<Duration>,
}

/// `envoy.type.v3.HashPolicy`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashPolicy {
    /// The client's IP address.
    SourceIp(SourceIpHash),
    /// An object in the filter state.
    FilterState(FilterStateHash),
}

/// `envoy.type.v3.HashPolicy.SourceIp`; it has no fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SourceIpHash {}

/// `envoy.type.v3.HashPolicy.FilterState`.
#[derive(Debug, Clone, Deserialize)]
pub struct FilterStateHash {
    /// The object's name. One that has no hash does not count.
    pub key: NonEmptyString,
}

/// When the upstream connection is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpstreamConnectMode {
    /// Once the client's connection is there.
    #[default]
    Immediate,
    /// Once the client has sent something.
    OnDownstreamData,
    /// Once the client's TLS handshake is done: as soon as `IMMEDIATE`, since handshakes come before network filters here.
    OnDownstreamTlsHandshake,
}

/// Connects a client to a host of a cluster and passes bytes both ways.
#[extension(
    name = "envoy.filters.network.tcp_proxy",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
)]
impl NetworkFilterConfig for TcpProxy {
    fn is_terminal(&self) -> bool {
        true
    }

    fn cluster_references(&self) -> Vec<ClusterReference> {
        let single = self.cluster.iter().map(|cluster| ClusterReference::optional("cluster", cluster));
        let weighted = self.weighted_clusters.iter().flat_map(|weighted| &weighted.clusters).enumerate();
        let weighted = weighted.map(|(index, cluster)| {
            ClusterReference::optional(format!("weighted_clusters.clusters[{index}].name"), &*cluster.name)
        });
        single.chain(weighted).collect()
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(TcpProxyFilter::new(Settings::build(self, context)?)))
    }
}
