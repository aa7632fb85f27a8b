//! One version of a cluster, as all workers share it.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use underpass_core::cluster::{ClusterInfo, HealthFlag, Host, HostId};

use super::{
    directory::Directory,
    discovery::OriginalDst,
    load_balancer::Policy,
    membership::{AssignmentPolicy, Membership, PlaceSpec},
    stats::ClusterStats,
};

/// One version of a cluster. It is replaced when its configuration changes, and lives on as long as connections use it; its
/// hosts change while it lives.
pub(crate) struct SharedCluster {
    /// What extensions see of it.
    pub info: Arc<ClusterInfo>,
    /// How a host is picked.
    pub policy: Arc<Policy>,
    /// What is counted.
    pub stats: ClusterStats,
    /// Its hosts.
    pub membership: Membership,
    /// Whether connections to all hosts end when hosts come or go (`close_connections_on_host_set_change`).
    pub drains_on_change: bool,
    /// Where hosts come from that are made as connections need them; absent, they are picked from those that are there.
    pub original_dst: Option<Arc<OriginalDst>>,
    /// The name under which its endpoints are asked for, where they come from a file or a control plane.
    pub eds_service_name: Option<Arc<str>>,
    directory: Weak<Directory>,
    /// Whether workers may have seen its hosts, so that changes are worth counting.
    settled: AtomicBool,
}

impl SharedCluster {
    /// A version that nobody knows yet.
    pub(crate) fn new(
        info: Arc<ClusterInfo>,
        policy: Arc<Policy>,
        stats: ClusterStats,
        membership: Membership,
        drains_on_change: bool,
        directory: &Arc<Directory>,
    ) -> Self {
        let (directory, settled) = (Arc::downgrade(directory), AtomicBool::new(false));
        Self {
            info,
            policy,
            stats,
            membership,
            drains_on_change,
            original_dst: None,
            eds_service_name: None,
            directory,
            settled,
        }
    }

    /// Replaces all hosts. Returns whether anything changed.
    pub(crate) fn assign(&self, priorities: Vec<Vec<PlaceSpec>>, assignment: AssignmentPolicy) -> bool {
        self.count_matches(priorities.iter().flatten().map(|place| place.hosts.len()).sum());
        let changed = self.membership.assign(priorities, assignment);
        self.announce(changed)
    }

    /// Replaces the hosts of one priority. Returns whether anything changed.
    pub(crate) fn assign_priority(&self, priority: usize, places: Vec<PlaceSpec>) -> bool {
        let changed = self.membership.assign_priority(priority, places);
        self.announce(changed)
    }

    /// Replaces all hosts by ones that are made already.
    pub(crate) fn publish_hosts(&self, hosts: Vec<Arc<Host>>) {
        let changed = self.membership.publish_hosts(hosts);
        self.announce(changed);
    }

    /// Discovery found this many hosts, each of which gets a transport socket.
    pub(crate) fn count_matches(&self, hosts: usize) {
        self.stats.transport_socket_matches.add(hosts as u64);
    }

    /// Sets or clears a health flag of a host, for health checks and outlier detection: workers pick by it from now on.
    pub(crate) fn set_health(&self, host: HostId, flag: HealthFlag, on: bool) -> bool {
        let changed = self.membership.set_health(host, flag, on);
        self.announce(changed)
    }

    /// Whether its endpoints come from a file or a control plane.
    pub(crate) fn is_eds(&self) -> bool {
        self.eds_service_name.is_some()
    }

    /// The name of its `ClusterLoadAssignment`.
    pub(crate) fn assignment_name(&self) -> &str {
        self.eds_service_name.as_ref().unwrap_or(&self.info.name)
    }

    /// Takes over the hosts of the version before, which were found where this one will look for them.
    pub(crate) fn adopt_hosts(&self, previous: &Self) {
        let (priorities, assignment) = previous.membership.specs();
        self.assign(priorities, assignment);
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Whether its first hosts were ever there.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Its first hosts are there.
    pub(crate) fn settle(&self) {
        self.membership.settle();
        self.stats.discovery.warming_state.set(0);
        self.settled.store(true, Ordering::Relaxed);
    }

    fn announce(&self, changed: bool) -> bool {
        if changed && let Some(directory) = self.directory.upgrade() {
            directory.hosts_changed(&self.info.name, self.settled.load(Ordering::Relaxed));
        }
        changed
    }
}
