//! The hosts of one priority at one moment, sorted by how well they can be used.

use std::sync::{Arc, atomic::Ordering};

use underpass_core::cluster::{Health, HealthFlag, Host};

/// Hosts in the order in which they were configured. Lists are compared by identity: another list, another choice.
pub(crate) type HostList = Arc<[Arc<Host>]>;

/// Hosts whose health does not count: they do not speak for or against their priority.
const EXCLUDED: u32 = HealthFlag::PendingActiveHealthCheck as u32
    | HealthFlag::ExcludedByImmediateFailure as u32
    | HealthFlag::EdsStatusDraining as u32;

/// Hosts, and which of them can be used.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    /// All of them.
    pub all: HostList,
    /// Those that are healthy.
    pub healthy: HostList,
    /// Those that are second choice.
    pub degraded: HostList,
    /// How many do not count.
    pub excluded: usize,
}

impl Hosts {
    /// Sorts hosts by their present health.
    pub(crate) fn new(all: Vec<Arc<Host>>) -> Self {
        let with = |health| all.iter().filter(|host| host.health() == health).cloned().collect::<Vec<_>>();
        let (healthy, degraded) = (with(Health::Healthy), with(Health::Degraded));
        let is_excluded = |host: &&Arc<Host>| host.health.load(Ordering::Relaxed) & EXCLUDED != 0;
        let excluded = all.iter().filter(is_excluded).count();
        let everyone: HostList = all.into();
        // Usually all hosts are healthy; then one list serves for both.
        let healthy = if healthy.len() == everyone.len() { Arc::clone(&everyone) } else { healthy.into() };
        Self { all: everyone, healthy, degraded: degraded.into(), excluded }
    }

    /// How many hosts count.
    pub(crate) fn counted(&self) -> usize {
        self.all.len() - self.excluded
    }
}

/// The hosts of one place within a priority.
#[derive(Debug, Clone)]
pub(crate) struct LocalityHosts {
    /// The place's weight; 0 keeps it out of balancing by locality.
    pub weight: u32,
    /// Its hosts.
    pub hosts: Hosts,
}

/// The hosts of one priority at one moment; never changed, only replaced.
#[derive(Debug)]
pub(crate) struct HostSet {
    /// All of them.
    pub hosts: Hosts,
    /// The same by place; empty unless the cluster balances by locality.
    pub localities: Vec<LocalityHosts>,
    /// A priority or place takes its full load while its usable share, times this many percent, reaches 100 %.
    pub overprovisioning_factor: u32,
    /// Whether the health of the priority counts weights rather than hosts.
    pub weighted_health: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use underpass_core::address::Address;

    use super::*;

    /// A host on that port of loopback.
    pub(crate) fn host(port: u16, weight: u32) -> Arc<Host> {
        let host = Host::new(u64::from(port), Address::Socket(([127, 0, 0, 1], port).into()));
        host.weight.store(weight, Ordering::Relaxed);
        Arc::new(host)
    }

    /// A host with a flag set.
    pub(crate) fn flagged(port: u16, flag: HealthFlag) -> Arc<Host> {
        let host = host(port, 1);
        host.health.store(flag as u32, Ordering::Relaxed);
        host
    }

    /// A set with Envoy's defaults.
    pub(crate) fn host_set(hosts: Vec<Arc<Host>>) -> Arc<HostSet> {
        Arc::new(HostSet {
            hosts: Hosts::new(hosts),
            localities: Vec::new(),
            overprovisioning_factor: 140,
            weighted_health: false,
        })
    }

    #[test]
    fn hosts_are_sorted_by_health() {
        let hosts = Hosts::new(vec![
            host(1, 1),
            flagged(2, HealthFlag::FailedEdsHealth),
            flagged(3, HealthFlag::DegradedEdsHealth),
            flagged(4, HealthFlag::EdsStatusDraining),
            flagged(5, HealthFlag::PendingActiveHealthCheck),
        ]);
        let ports = |list: &HostList| list.iter().filter_map(|host| host.address.port()).collect::<Vec<_>>();
        assert_eq!((ports(&hosts.healthy), ports(&hosts.degraded)), (vec![1, 5], vec![3]));
        assert_eq!((hosts.excluded, hosts.counted()), (2, 3));
    }

    #[test]
    fn one_list_serves_while_everybody_is_healthy() {
        let hosts = Hosts::new(vec![host(1, 1), host(2, 1)]);
        assert!(Arc::ptr_eq(&hosts.all, &hosts.healthy));
    }
}
