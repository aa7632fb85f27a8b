//! What is counted for a cluster besides its traffic: balancing, membership and discovery.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats>

use underpass_core::{
    stat_group,
    stats::{Counter, Scope},
};

stat_group! {
    /// How hosts were picked.
    #[expect(clippy::struct_field_names, reason = "the names are Envoy's")]
    pub(crate) struct LbStats {
        /// Picks in panic.
        counter lb_healthy_panic,
        /// The cluster of this process has too few hosts for zone-aware balancing.
        counter lb_local_cluster_not_ok,
        /// Zone-aware balancing was worked out anew.
        counter lb_recalculate_zone_structures,
        /// Subsets that exist.
        gauge lb_subsets_active,
        /// Subsets that came to be.
        counter lb_subsets_created,
        /// Picks by the fallback policy.
        counter lb_subsets_fallback,
        /// Picks among all hosts, since the fallback had none.
        counter lb_subsets_fallback_panic,
        /// Subsets that ceased to be.
        counter lb_subsets_removed,
        /// Picks in a subset.
        counter lb_subsets_selected,
        /// The cluster is too small for zone-aware balancing.
        counter lb_zone_cluster_too_small,
        /// Zone-aware balancing found no place for some traffic.
        counter lb_zone_no_capacity_left,
        /// Traffic that stayed in its zone because there is enough of everything.
        counter lb_zone_routing_all_directly,
        /// Traffic that left its zone.
        counter lb_zone_routing_cross_zone,
        /// Traffic that stayed in its zone as far as there was capacity.
        counter lb_zone_routing_sampled,
    }
}

stat_group! {
    /// The hosts of a cluster, and how they were found.
    pub(crate) struct EndpointStats {
        /// Assignments of a control plane that were too old.
        counter assignment_stale,
        /// Assignments with a limited life.
        counter assignment_timeout_received,
        /// Assignments from a cache.
        counter assignment_use_cached,
        /// The greatest weight of a host.
        gauge max_host_weight,
        /// Changes of the set of hosts.
        counter membership_change,
        /// Degraded hosts.
        gauge membership_degraded,
        /// Hosts that do not count.
        gauge membership_excluded,
        /// Healthy hosts.
        gauge membership_healthy,
        /// Hosts.
        gauge membership_total,
    }
}

stat_group! {
    /// How discovery goes.
    pub(crate) struct DiscoveryStats {
        /// Attempts to find the hosts.
        counter update_attempt,
        /// Answers without hosts.
        counter update_empty,
        /// Attempts that failed.
        counter update_failure,
        /// Answers that changed nothing.
        counter update_no_rebuild,
        /// Attempts that succeeded.
        counter update_success,
        /// The version of the configuration that a control plane sent, as a hash.
        gauge version,
        /// Whether it waits for its first hosts.
        gauge warming_state,
    }
}

/// Those of membership and discovery.
#[derive(Debug, Clone)]
pub(crate) struct ClusterStats {
    /// The hosts.
    pub endpoints: EndpointStats,
    /// How they were found.
    pub discovery: DiscoveryStats,
    /// Hosts for which the cluster's own transport socket was chosen (`default.total_match_count`). There is no other to
    /// choose (`transport_socket_matches`), so that is every host that discovery ever named; in Envoy each answer of a
    /// resolver names them anew.
    pub transport_socket_matches: Counter,
}

impl ClusterStats {
    /// The stats in the scope `cluster.<name>`.
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            endpoints: EndpointStats::new(scope),
            discovery: DiscoveryStats::new(scope),
            transport_socket_matches: scope.scope("default").counter("total_match_count"),
        }
    }
}
