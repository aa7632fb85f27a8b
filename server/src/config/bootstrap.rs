//! The whole configuration of a process: `envoy.config.bootstrap.v3.Bootstrap`.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    bootstrap_extension::BootstrapExtensionConfig,
    config::{Address, ConfigSource, ExtensionConfig, RawMessage},
};

use super::{
    cluster::Cluster, listener::Listener, node::Node, overload::OverloadManager, runtime::LayeredRuntime,
    socket::BindConfig, stats::StatsConfig,
};

/// `stats_flush_interval` where nothing is set.
const STATS_FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// `envoy.config.bootstrap.v3.Bootstrap`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Bootstrap {
    /// Who this process is.
    pub node: Node,
    /// Listeners and clusters that live as long as the process.
    pub static_resources: StaticResources,
    /// Listeners and clusters that come and go while the process runs.
    pub dynamic_resources: DynamicResources,
    /// What holds for all clusters.
    pub cluster_manager: ClusterManager,
    /// Names, tags and selection of stats.
    pub stats_config: StatsConfig,
    /// How often what was recorded of histograms becomes visible.
    pub stats_flush_interval: Option<Duration>,
    /// Runtime keys.
    pub layered_runtime: LayeredRuntime,
    /// The admin interface; absent, there is none.
    pub admin: Option<Admin>,
    /// Limits of the whole process.
    pub overload_manager: OverloadManager,
    /// What is installed before the first listener, such as the registry of internal listeners.
    pub bootstrap_extensions: Vec<ExtensionConfig<dyn BootstrapExtensionConfig>>,
}

impl Bootstrap {
    /// `stats_flush_interval`, 5 s by default.
    pub fn stats_flush_interval_or_default(&self) -> Duration {
        self.stats_flush_interval.unwrap_or(STATS_FLUSH_INTERVAL)
    }
}

/// `envoy.config.bootstrap.v3.Bootstrap.StaticResources`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StaticResources {
    /// The listeners. Of two with one name the first counts, as in Envoy.
    pub listeners: Vec<Listener>,
    /// The clusters; two of one name are an error.
    pub clusters: Vec<Cluster>,
}

/// `envoy.config.bootstrap.v3.Bootstrap.DynamicResources`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DynamicResources {
    /// Where listeners come from.
    pub lds_config: Option<ConfigSource>,
    /// Where clusters come from.
    pub cds_config: Option<ConfigSource>,
    /// The control plane that `ads: {}` means anywhere else: an `ApiConfigSource`, read by whoever implements it.
    pub ads_config: Option<RawMessage>,
}

/// `envoy.config.bootstrap.v3.ClusterManager`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClusterManager {
    /// The cluster this process is a member of, for zone-aware balancing; it has to be configured.
    pub local_cluster_name: String,
    /// Where upstream connections come from, unless their cluster says otherwise.
    pub upstream_bind_config: Option<BindConfig>,
}

/// `envoy.config.bootstrap.v3.Admin`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// Where the admin interface listens. Absent, the admin is there but cannot be reached.
    pub address: Option<Address>,
}
