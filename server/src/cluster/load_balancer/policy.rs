//! A cluster's policy: how its hosts are picked, as the configuration says it.

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::RuntimeDouble,
};

use super::{
    maglev::{MaglevOptions, MaglevStats, is_prime},
    ring_hash::{RingOptions, RingStats},
    subset::SubsetOptions,
};
use crate::{
    cluster::stats::LbStats,
    config::{
        cluster::Cluster,
        load_balancing::{HashFunction, LbPolicy},
    },
};

/// How hosts are picked.
pub(crate) struct Policy {
    /// By what.
    pub kind: PolicyKind,
    /// If fewer percent of the hosts than this can be used, all are; 0 for never.
    pub panic_threshold: u32,
    /// Whether in panic nobody is picked instead.
    pub fail_traffic_on_panic: bool,
    /// Whether a place is picked first, by its weight.
    pub locality_weighted: bool,
    /// Subsets by metadata, if there are any.
    pub subsets: Option<SubsetOptions>,
    /// What is counted.
    pub stats: LbStats,
}

/// By what hosts are picked.
pub(crate) enum PolicyKind {
    /// One after the other, by weight.
    RoundRobin,
    /// Of some hosts picked at random, the one with the fewest active requests.
    LeastRequest {
        /// How many are compared.
        choice_count: u32,
        /// How much active requests weigh against weights.
        bias: f64,
    },
    /// Any.
    Random,
    /// By a hash, on a ring.
    RingHash(RingOptions, RingStats),
    /// By a hash, in a table.
    Maglev(MaglevOptions, MaglevStats),
}

impl PolicyKind {
    /// Whether a hash decides; without one it is drawn at random.
    pub(crate) fn uses_hash(&self) -> bool {
        matches!(self, Self::RingHash(..) | Self::Maglev(..))
    }

    /// Whether picks of one kind can go on with the state of another.
    pub(crate) fn same_state(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::LeastRequest { choice_count, bias },
                Self::LeastRequest { choice_count: other_count, bias: other_bias },
            ) => choice_count == other_count && bias.to_bits() == other_bias.to_bits(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Policy {
    /// The policy of a cluster. The runtime overrides numbers, as it is when the cluster is built
    /// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_runtime>).
    pub(crate) fn new(cluster: &Cluster, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let common = &cluster.common_lb_config;
        let (path, scope) = (context.path(), context.scope);
        let threshold = round_percent(common.healthy_panic_threshold_or_default());
        let runtime = context.server.runtime.snapshot();
        let threshold = runtime.integer("upstream.healthy_panic_threshold", threshold.into()).min(100);
        Ok(Self {
            kind: kind(cluster, context)?,
            panic_threshold: u32::try_from(threshold).unwrap_or(100),
            fail_traffic_on_panic: common
                .zone_aware_lb_config
                .as_ref()
                .is_some_and(|zone| zone.fail_traffic_on_panic),
            locality_weighted: common.locality_weighted_lb_config.is_some(),
            subsets: SubsetOptions::new(&cluster.lb_subset_config, path, scope)?,
            stats: LbStats::new(scope),
        })
    }
}

fn kind(cluster: &Cluster, context: &BuildContext<'_>) -> Result<PolicyKind, BuildError> {
    let (path, scope) = (context.path(), context.scope);
    let use_hostname = cluster.common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing;
    Ok(match cluster.lb_policy {
        // What the cluster's type provides does not come here.
        LbPolicy::RoundRobin | LbPolicy::ClusterProvided => PolicyKind::RoundRobin,
        LbPolicy::Random => PolicyKind::Random,
        LbPolicy::LeastRequest => {
            let options = cluster.least_request_lb_config.clone().unwrap_or_default();
            let bias =
                options.active_request_bias.as_ref().map_or(1.0, |bias| active_request_bias(bias, context));
            PolicyKind::LeastRequest { choice_count: options.choice_count_or_default(), bias }
        }
        LbPolicy::RingHash => {
            let options = cluster.ring_hash_lb_config.clone().unwrap_or_default();
            let (min, max) = (options.minimum_ring_size_or_default(), options.maximum_ring_size_or_default());
            if min > max {
                let message = format!("ring hash: minimum_ring_size ({min}) > maximum_ring_size ({max})");
                return Err(BuildError::at(path.field("ring_hash_lb_config"), message));
            }
            let murmur = options.hash_function == HashFunction::MurmurHash2;
            let options = RingOptions { min_size: min, max_size: max, murmur, use_hostname };
            PolicyKind::RingHash(options, RingStats::new(&scope.scope("ring_hash_lb")))
        }
        LbPolicy::Maglev => {
            let table_size = cluster.maglev_lb_config.clone().unwrap_or_default().table_size_or_default();
            if !is_prime(table_size) {
                let message =
                    format!("The table size of maglev must be prime number, which {table_size} is not");
                return Err(BuildError::at(path.field("maglev_lb_config").field("table_size"), message));
            }
            let options = MaglevOptions { table_size, use_hostname };
            PolicyKind::Maglev(options, MaglevStats::new(&scope.scope("maglev_lb")))
        }
    })
}

fn active_request_bias(config: &RuntimeDouble, context: &BuildContext<'_>) -> f64 {
    let bias = context.server.runtime.snapshot().double(&config.runtime_key, config.default_value);
    if bias >= 0.0 && bias.is_finite() {
        return bias;
    }
    let message = format!("invalid active request bias {bias}, using 1.0");
    context.warn(context.error_at("least_request_lb_config", message));
    1.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
fn round_percent(percent: f64) -> u32 {
    percent.clamp(0.0, 100.0).round() as u32
}
