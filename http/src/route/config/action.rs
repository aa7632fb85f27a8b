//! To which cluster a route goes, and how.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    config::{HeaderValueOption, Metadata},
    matcher::RegexMatchAndSubstitute,
    network_filter::ClusterReference,
};

use super::{HashPolicy, RetryPolicy};
use crate::filter::TypedPerFilterConfig;

/// `envoy.config.route.v3.RouteAction`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteAction {
    /// The cluster.
    pub cluster: Option<String>,
    /// The header that names the cluster.
    pub cluster_header: Option<String>,
    /// Several clusters, of which one is picked.
    pub weighted_clusters: Option<WeightedCluster>,
    /// What a request gets whose cluster is not there.
    pub cluster_not_found_response_code: ClusterNotFoundResponseCode,
    /// What the metadata of a host must hold, under `envoy.lb`.
    pub metadata_match: Option<Metadata>,
    /// Replaces what the route matched of the path.
    pub prefix_rewrite: String,
    /// Replaces parts of the path.
    pub regex_rewrite: Option<RegexMatchAndSubstitute>,
    /// Replaces all of the path but its query; with command operators.
    pub path_rewrite: String,
    /// The upstream's name for the host.
    pub host_rewrite_literal: Option<String>,
    /// Whether the host's own name is its `Host`.
    pub auto_host_rewrite: Option<bool>,
    /// The header that holds the upstream's name for the host.
    pub host_rewrite_header: Option<String>,
    /// Makes the upstream's name for the host of the path.
    pub host_rewrite_path_regex: Option<RegexMatchAndSubstitute>,
    /// The upstream's name for the host; with command operators.
    pub host_rewrite: Option<String>,
    /// Whether the client's `Host` is kept in `x-forwarded-host`, where it is rewritten.
    pub append_x_forwarded_host: bool,
    /// From the end of the request to the end of the answer; 15 seconds unless set, no limit if zero.
    pub timeout: Option<Duration>,
    /// How long the stream may be silent; as the connection manager says unless set.
    pub idle_timeout: Option<Duration>,
    /// When it is tried again.
    pub retry_policy: Option<RetryPolicy>,
    /// Which circuit breakers count.
    pub priority: RoutingPriority,
    /// What hash-based load balancing goes by.
    pub hash_policy: Vec<HashPolicy>,
    /// The old way to say `max_stream_duration.grpc_timeout_header_max`.
    pub max_grpc_timeout: Option<Duration>,
    /// The old way to say `max_stream_duration.grpc_timeout_header_offset`.
    pub grpc_timeout_offset: Option<Duration>,
    /// Which upgrades are allowed here.
    pub upgrade_configs: Vec<UpgradeConfig>,
    /// How long a stream may last.
    pub max_stream_duration: Option<MaxStreamDuration>,
}

/// `RouteAction.ClusterNotFoundResponseCode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterNotFoundResponseCode {
    /// 503.
    #[default]
    ServiceUnavailable,
    /// 404.
    NotFound,
    /// 500.
    InternalServerError,
}

/// `envoy.config.core.v3.RoutingPriority`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RoutingPriority {
    /// As usual.
    #[default]
    Default,
    /// With circuit breakers of its own.
    High,
}

/// `RouteAction.UpgradeConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UpgradeConfig {
    /// `websocket`, `CONNECT`: what stands in the `Upgrade` header, or the method. Case does not count.
    pub upgrade_type: String,
    /// Whether it is allowed; yes unless set.
    pub enabled: Option<bool>,
    /// Ends a CONNECT here and sends its bytes on.
    pub connect_config: Option<ConnectConfig>,
}

/// `RouteAction.UpgradeConfig.ConnectConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConnectConfig {
    /// Sends a PROXY protocol header first.
    pub proxy_protocol_config: Option<ProxyProtocolConfig>,
    /// Whether a POST is treated as a CONNECT.
    pub allow_post: bool,
}

/// `envoy.config.core.v3.ProxyProtocolConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProxyProtocolConfig {
    /// Its version.
    pub version: ProxyProtocolVersion,
}

/// `ProxyProtocolConfig.Version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ProxyProtocolVersion {
    /// In words.
    #[default]
    V1,
    /// In binary.
    V2,
}

/// `RouteAction.MaxStreamDuration`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct MaxStreamDuration {
    /// How long a stream may last; no limit if zero, as the connection manager says unless set.
    pub max_stream_duration: Option<Duration>,
    /// Whether `grpc-timeout` counts, and up to which time; any if zero.
    pub grpc_timeout_header_max: Option<Duration>,
    /// How much sooner than `grpc-timeout` says the stream ends.
    pub grpc_timeout_header_offset: Option<Duration>,
}

/// `envoy.config.route.v3.WeightedCluster`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WeightedCluster {
    /// The clusters.
    pub clusters: Vec<ClusterWeight>,
    /// What runtime keys that override weights begin with: `<prefix>.<cluster>`.
    pub runtime_key_prefix: String,
    /// A header whose number picks the cluster.
    pub header_name: Option<String>,
    /// Whether the hash of the route's hash policies picks the cluster.
    pub use_hash_policy: Option<bool>,
    /// What the sum of the weights once had to be; the sum counts.
    #[serde(rename = "total_weight")]
    _total_weight: Option<u32>,
}

/// `WeightedCluster.ClusterWeight`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterWeight {
    /// The cluster.
    pub name: String,
    /// The header that names the cluster.
    pub cluster_header: String,
    /// Its share of the requests, in relation to the sum of all weights; none unless set.
    pub weight: Option<u32>,
    /// What the metadata of a host must hold, under `envoy.lb`; goes over the route's.
    pub metadata_match: Option<Metadata>,
    /// Added to requests.
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from requests.
    pub request_headers_to_remove: Vec<String>,
    /// Added to answers.
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from answers.
    pub response_headers_to_remove: Vec<String>,
    /// For filters, by their names.
    pub typed_per_filter_config: TypedPerFilterConfig,
    /// The upstream's name for the host.
    pub host_rewrite_literal: Option<String>,
}

impl RouteAction {
    pub(super) fn cluster_references(&self, field: &str) -> Vec<ClusterReference> {
        let single = self.cluster.iter().map(|cluster| ClusterReference {
            field: format!("{field}.cluster"),
            cluster: cluster.clone(),
            refusal: Some(format!("route: unknown cluster '{cluster}'")),
        });
        let weighted = self.weighted_clusters.iter().flat_map(|weighted| &weighted.clusters).enumerate();
        let weighted = weighted.filter(|(_, cluster)| !cluster.name.is_empty());
        let weighted = weighted.map(|(index, cluster)| ClusterReference {
            field: format!("{field}.weighted_clusters.clusters[{index}].name"),
            cluster: cluster.name.clone(),
            refusal: Some(format!("route: unknown weighted cluster '{}'", cluster.name)),
        });
        single.chain(weighted).collect()
    }
}
