//! The hosts of a cluster: `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use serde::Deserialize;
use underpass_core::config::{Address, Metadata};

use super::node::Locality;

/// Envoy's `overprovisioning_factor`, in percent, where nothing is set.
const OVERPROVISIONING_FACTOR: u32 = 140;

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClusterLoadAssignment {
    /// The cluster's name.
    pub cluster_name: String,
    /// The hosts, by locality and priority.
    pub endpoints: Vec<LocalityLbEndpoints>,
    /// How they share the load.
    pub policy: Policy,
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment.Policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// A priority or locality takes its full load while its healthy share, times this many percent, reaches 100 %.
    pub overprovisioning_factor: Option<u32>,
    /// Whether the health of a priority counts weights rather than hosts.
    pub weighted_priority_health: bool,
}

impl Policy {
    /// `overprovisioning_factor` in percent, 140 by default.
    pub fn overprovisioning_factor_or_default(&self) -> u32 {
        self.overprovisioning_factor.unwrap_or(OVERPROVISIONING_FACTOR)
    }
}

/// `envoy.config.endpoint.v3.LocalityLbEndpoints`: the hosts of one place and priority.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LocalityLbEndpoints {
    /// The place.
    pub locality: Locality,
    /// The hosts.
    pub lb_endpoints: Vec<LbEndpoint>,
    /// The weight of the place among those of its priority, for balancing by locality.
    pub load_balancing_weight: Option<u32>,
    /// Hosts of a higher number are used if those of lower numbers are not healthy enough.
    pub priority: u32,
}

/// `envoy.config.endpoint.v3.LbEndpoint`: a host, as the balancer sees it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LbEndpoint {
    /// The host.
    pub endpoint: Option<Endpoint>,
    /// What is known of its health.
    pub health_status: HealthStatus,
    /// Data for balancing (`envoy.lb`), formatters and the next hop.
    pub metadata: Metadata,
    /// Its weight among the hosts of its locality; absent, 1.
    pub load_balancing_weight: Option<u32>,
}

/// `envoy.config.endpoint.v3.Endpoint`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Where it is; in clusters that use DNS, the name that is resolved.
    pub address: Option<Address>,
    /// Its name, for those that want one.
    pub hostname: String,
    /// Further addresses of the same host, which are tried if the first one fails.
    pub additional_addresses: Vec<AdditionalAddress>,
}

/// `envoy.config.endpoint.v3.Endpoint.AdditionalAddress`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AdditionalAddress {
    /// Where.
    pub address: Option<Address>,
}

/// `envoy.config.core.v3.HealthStatus`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthStatus {
    /// Not known, which counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Not healthy.
    Unhealthy,
    /// Being drained, which counts as not healthy.
    Draining,
    /// Its health check ran out of time, which counts as not healthy.
    Timeout,
    /// Able to serve, but second choice.
    Degraded,
}
