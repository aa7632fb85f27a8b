//! What the manager keeps of each version of a cluster.

use std::sync::Arc;

use tokio::task::AbortHandle;
use underpass_core::config::Node;

use crate::{
    cluster::{build::Built, discovery::Discovery, shared::SharedCluster},
    timestamp,
};

/// A version of a cluster, where it came from, and the work that goes on for it.
pub(super) struct Managed {
    /// The cluster.
    pub cluster: Arc<SharedCluster>,
    /// How it finds its hosts; absent, they are configured.
    pub discovery: Option<Arc<dyn Discovery>>,
    /// The tree it was read from.
    pub node: Arc<Node>,
    /// What to tell another configuration from this one by.
    pub fingerprint: Fingerprint,
    /// Whether it comes from others than the configuration file.
    pub added_via_api: bool,
    /// The version that came with it.
    pub version_info: String,
    /// Whether the start waits for its first hosts.
    pub wait_at_start: bool,
    /// When its configuration came.
    pub last_updated: String,
    /// Its discovery.
    pub task: Option<AbortHandle>,
}

/// The search for the hosts of a version.
pub(super) struct Work {
    pub cluster: Arc<SharedCluster>,
    pub discovery: Arc<dyn Discovery>,
}

/// What an update needs to know of the version before.
pub(super) struct Summary {
    pub cluster: Arc<SharedCluster>,
    pub fingerprint: Fingerprint,
    pub added_via_api: bool,
    pub hosts_are_configured: bool,
}

impl Managed {
    pub(super) fn new(
        built: Built,
        node: &Arc<Node>,
        fingerprint: Fingerprint,
        version: Option<&str>,
    ) -> Self {
        let Built { cluster, discovery, wait_at_start } = built;
        Self {
            cluster,
            discovery,
            node: Arc::clone(node),
            fingerprint,
            added_via_api: version.is_some(),
            version_info: version.unwrap_or_default().to_owned(),
            wait_at_start,
            last_updated: timestamp::now(),
            task: None,
        }
    }

    /// What has to be run for it, if its hosts are not configured.
    pub(super) fn work(&self) -> Option<Work> {
        let discovery = Arc::clone(self.discovery.as_ref()?);
        Some(Work { cluster: Arc::clone(&self.cluster), discovery })
    }

    /// The same cluster, from another configuration.
    pub(super) fn renew(&mut self, node: &Arc<Node>, fingerprint: Fingerprint, version: Option<&str>) {
        self.node = Arc::clone(node);
        self.fingerprint = fingerprint;
        self.added_via_api = version.is_some();
        version.unwrap_or_default().clone_into(&mut self.version_info);
        self.last_updated = timestamp::now();
    }

    /// The configuration file has it now.
    pub(super) fn adopt(&mut self) {
        self.added_via_api = false;
        self.version_info.clear();
        self.last_updated = timestamp::now();
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            cluster: Arc::clone(&self.cluster),
            fingerprint: self.fingerprint,
            added_via_api: self.added_via_api,
            hosts_are_configured: self.discovery.is_none(),
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Hashes of a configuration: of all of it, and of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    all: u64,
    without_hosts: u64,
    connections: u64,
    /// Of what says where its endpoints are asked for; absent unless they are.
    endpoints: Option<u64>,
}

/// The fields that say nothing about how connections to a host are made.
const NOT_ABOUT_CONNECTIONS: &[&str] = &[
    "circuit_breakers",
    "cluster_type",
    "common_lb_config",
    "connect_timeout",
    "dns_failure_refresh_rate",
    "dns_jitter",
    "dns_lookup_family",
    "dns_refresh_rate",
    "dns_resolution_config",
    "dns_resolvers",
    "eds_cluster_config",
    "health_checks",
    "lb_policy",
    "lb_subset_config",
    "least_request_lb_config",
    "load_assignment",
    "load_balancing_policy",
    "maglev_lb_config",
    "outlier_detection",
    "respect_dns_ttl",
    "ring_hash_lb_config",
    "round_robin_lb_config",
    "type",
    "use_tcp_for_dns_lookups",
    "wait_for_warm_on_init",
];

impl Fingerprint {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            all: node.stable_hash(),
            without_hosts: node.stable_hash_without(&["load_assignment"]),
            connections: node.stable_hash_without(NOT_ABOUT_CONNECTIONS),
            endpoints: node.field("eds_cluster_config").map(|config| config.stable_hash()),
        }
    }

    /// Whether only the hosts are different.
    pub(super) fn differs_in_hosts_only(self, other: &Self) -> bool {
        self.without_hosts == other.without_hosts
    }

    /// Whether endpoints are asked for in the same place, under the same name.
    pub(super) fn finds_hosts_alike(self, other: &Self) -> bool {
        self.endpoints.is_some() && self.endpoints == other.endpoints
    }

    /// Whether connections are made in the same way.
    pub(super) fn connects_alike(self, other: &Self) -> bool {
        self.connections == other.connections
    }
}
