//! How a host of a cluster is picked.

use serde::Deserialize;
use underpass_core::config::{MetadataKey, Percent, Ranged, RuntimeDouble, Struct};

/// Envoy's `healthy_panic_threshold`, in percent, where nothing is set.
const HEALTHY_PANIC_THRESHOLD: f64 = 50.0;

/// `envoy.config.cluster.v3.Cluster.LbPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LbPolicy {
    /// One after the other, by weight.
    #[default]
    RoundRobin,
    /// Of some hosts picked at random, the one with the fewest active requests.
    LeastRequest,
    /// By a hash, on a ring where each host has many places.
    RingHash,
    /// Any.
    Random,
    /// By a hash, in a table that changes little when hosts come and go.
    Maglev,
    /// As the type of the cluster has it.
    ClusterProvided,
}

impl LbPolicy {
    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "ROUND_ROBIN",
            Self::LeastRequest => "LEAST_REQUEST",
            Self::RingHash => "RING_HASH",
            Self::Random => "RANDOM",
            Self::Maglev => "MAGLEV",
            Self::ClusterProvided => "CLUSTER_PROVIDED",
        }
    }
}

/// `envoy.config.cluster.v3.Cluster.OriginalDstLbConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OriginalDstLbConfig {
    /// Whether a header of the request names the destination.
    pub use_http_header: bool,
    /// Which header; empty, `x-envoy-original-dst-host`.
    pub http_header_name: String,
    /// The port that is connected to, whatever the destination says.
    pub upstream_port_override: Option<Ranged<u32, 0, 65535>>,
    /// The dynamic metadata that names the destination.
    pub metadata_key: Option<MetadataKey>,
}

/// `envoy.config.cluster.v3.Cluster.RingHashLbConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RingHashLbConfig {
    /// At least so many places on the ring.
    pub minimum_ring_size: Option<u64>,
    /// At most so many places on the ring.
    pub maximum_ring_size: Option<u64>,
    /// How hosts find their places.
    pub hash_function: HashFunction,
}

impl RingHashLbConfig {
    /// `minimum_ring_size`, 1024 by default.
    pub fn minimum_ring_size_or_default(&self) -> u64 {
        self.minimum_ring_size.unwrap_or(1024)
    }

    /// `maximum_ring_size`, 8 Mi by default.
    pub fn maximum_ring_size_or_default(&self) -> u64 {
        self.maximum_ring_size.unwrap_or(8 * 1024 * 1024)
    }
}

/// `envoy.config.cluster.v3.Cluster.RingHashLbConfig.HashFunction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum HashFunction {
    /// xxHash, 64 bits.
    #[default]
    #[serde(rename = "XX_HASH")]
    XxHash,
    /// `std::hash` of GNU's C++ library, which is Murmur hash 2.
    #[serde(rename = "MURMUR_HASH_2")]
    MurmurHash2,
}

/// `envoy.config.cluster.v3.Cluster.MaglevLbConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MaglevLbConfig {
    /// How many places the table has, a prime number.
    pub table_size: Option<u64>,
}

impl MaglevLbConfig {
    /// `table_size`, 65537 by default.
    pub fn table_size_or_default(&self) -> u64 {
        self.table_size.unwrap_or(65537)
    }
}

/// `envoy.config.cluster.v3.Cluster.LeastRequestLbConfig`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LeastRequestLbConfig {
    /// How many hosts are compared.
    pub choice_count: Option<u32>,
    /// How much active requests weigh against weights; absent, 1.
    pub active_request_bias: Option<RuntimeDouble>,
}

impl LeastRequestLbConfig {
    /// `choice_count`, 2 by default.
    pub fn choice_count_or_default(&self) -> u32 {
        self.choice_count.unwrap_or(2)
    }
}

/// `envoy.config.cluster.v3.Cluster.RoundRobinLbConfig`; its slow start is not implemented, so nothing is left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RoundRobinLbConfig {}

/// `envoy.config.cluster.v3.Cluster.CommonLbConfig`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CommonLbConfig {
    /// If fewer hosts than this are healthy, all are used.
    pub healthy_panic_threshold: Option<Percent>,
    /// Preferring the zone of this process.
    pub zone_aware_lb_config: Option<ZoneAwareLbConfig>,
    /// Giving each locality a share by its weight.
    pub locality_weighted_lb_config: Option<LocalityWeightedLbConfig>,
    /// Whether connections to all hosts end when hosts are added or removed.
    pub close_connections_on_host_set_change: bool,
    /// Options of the policies that use a hash.
    pub consistent_hashing_lb_config: ConsistentHashingLbConfig,
}

impl CommonLbConfig {
    /// `healthy_panic_threshold` in percent, 50 by default.
    pub fn healthy_panic_threshold_or_default(&self) -> f64 {
        self.healthy_panic_threshold.map_or(HEALTHY_PANIC_THRESHOLD, |percent| percent.value)
    }
}

/// `envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ZoneAwareLbConfig {
    /// How much of the traffic takes part; absent, all of it.
    pub routing_enabled: Option<Percent>,
    /// The cluster has to have so many hosts; absent, 6.
    pub min_cluster_size: Option<u64>,
    /// Whether there is no host at all, rather than all of them, when too few are healthy.
    pub fail_traffic_on_panic: bool,
}

/// `envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig`; being there is all it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct LocalityWeightedLbConfig {}

/// `envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConsistentHashingLbConfig {
    /// Whether a host's place comes from its name rather than its address.
    pub use_hostname_for_hashing: bool,
}

/// `envoy.config.cluster.v3.Cluster.LbSubsetConfig`. Without selectors it has no effect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LbSubsetConfig {
    /// What happens if no subset fits.
    pub fallback_policy: LbSubsetFallbackPolicy,
    /// The subset of [`LbSubsetFallbackPolicy::DefaultSubset`].
    pub default_subset: Struct,
    /// By which keys of `envoy.lb` metadata there are subsets.
    pub subset_selectors: Vec<LbSubsetSelector>,
    /// Whether localities and their weights count within a subset.
    pub locality_weight_aware: bool,
    /// Whether the weight of a locality shrinks with its share of the subset.
    pub scale_locality_weight: bool,
    /// Whether any host is used if even the fallback has none.
    pub panic_mode_any: bool,
    /// Whether a list in a host's metadata fits each of its elements.
    pub list_as_any: bool,
}

/// `envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetFallbackPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LbSubsetFallbackPolicy {
    /// There is no host.
    #[default]
    NoFallback,
    /// Any host is used.
    AnyEndpoint,
    /// The default subset is used.
    DefaultSubset,
}

/// `envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LbSubsetSelector {
    /// The keys.
    pub keys: Vec<String>,
    /// Whether each combination of values has one host only, which makes look-ups cheap.
    pub single_host_per_subset: bool,
    /// What happens if no subset of these keys fits.
    pub fallback_policy: LbSubsetSelectorFallbackPolicy,
    /// The keys of [`LbSubsetSelectorFallbackPolicy::KeysSubset`].
    pub fallback_keys_subset: Vec<String>,
}

/// `envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector.LbSubsetSelectorFallbackPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LbSubsetSelectorFallbackPolicy {
    /// What the cluster says.
    #[default]
    NotDefined,
    /// There is no host.
    NoFallback,
    /// Any host is used.
    AnyEndpoint,
    /// The default subset is used.
    DefaultSubset,
    /// The subset of fewer keys is used.
    KeysSubset,
}
