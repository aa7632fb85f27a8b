use std::collections::HashMap;

use fastrand::Rng;
use proptest::prelude::*;
use underpass_core::{cluster::HealthFlag, stats::Store};

use super::*;
use crate::cluster::{
    host_set::{
        Hosts, LocalityHosts,
        tests::{flagged, host, host_set},
    },
    stats::LbStats,
};

pub(super) fn policy(kind: PolicyKind) -> Policy {
    Policy {
        kind,
        panic_threshold: 50,
        fail_traffic_on_panic: false,
        locality_weighted: false,
        subsets: None,
        stats: LbStats::new(&Store::new(1).scope("cluster.up")),
    }
}

/// A balancer and its rules.
struct Ruled {
    policy: Policy,
    balancer: LoadBalancer,
}

impl Ruled {
    fn choose(&self, hosts: &PrioritySet, hash: Option<u64>) -> Option<Arc<Host>> {
        self.balancer.choose(&self.policy, hosts, hash)
    }
}

fn balancer(policy: Policy) -> Ruled {
    Ruled { policy, balancer: LoadBalancer::new(Rng::with_seed(3)) }
}

fn ports(balancer: &Ruled, hosts: &PrioritySet, count: usize) -> HashMap<u16, usize> {
    let mut ports = HashMap::new();
    for _ in 0..count {
        if let Some(host) = balancer.choose(hosts, None) {
            *ports.entry(host.address.port().unwrap()).or_default() += 1;
        }
    }
    ports
}

fn ill(port: u16) -> Arc<Host> {
    flagged(port, HealthFlag::FailedEdsHealth)
}

#[test]
fn only_healthy_hosts_are_picked_while_there_are_enough() {
    let balancer = balancer(policy(PolicyKind::RoundRobin));
    let set = host_set(vec![host(1, 1), host(2, 1), ill(3)]);
    let hosts = PrioritySet::new(vec![set], &balancer.policy, None);
    assert_eq!(ports(&balancer, &hosts, 10), HashMap::from([(1, 5), (2, 5)]));
    assert_eq!(balancer.policy.stats.lb_healthy_panic.value(), 0);
}

#[test]
fn in_panic_everybody_is_picked() {
    let balancer = balancer(policy(PolicyKind::RoundRobin));
    let hosts = PrioritySet::new(vec![host_set(vec![host(1, 1), ill(2), ill(3)])], &balancer.policy, None);
    assert_eq!(ports(&balancer, &hosts, 9), HashMap::from([(1, 3), (2, 3), (3, 3)]));
    assert_eq!(balancer.policy.stats.lb_healthy_panic.value(), 9);
}

#[test]
fn without_panic_nobody_is_picked_when_all_are_ill() {
    for (threshold, fail) in [(0, false), (50, true)] {
        let policy = Policy {
            panic_threshold: threshold,
            fail_traffic_on_panic: fail,
            ..policy(PolicyKind::RoundRobin)
        };
        let balancer = balancer(policy);
        let hosts = PrioritySet::new(vec![host_set(vec![ill(1), ill(2)])], &balancer.policy, None);
        assert!(balancer.choose(&hosts, None).is_none());
    }
}

// Envoy counts panic for a cluster without hosts, too.
#[test]
fn a_cluster_without_hosts_panics_and_finds_nobody() {
    let balancer = balancer(policy(PolicyKind::RoundRobin));
    let hosts = PrioritySet::new(vec![host_set(vec![])], &balancer.policy, None);
    assert!(balancer.choose(&hosts, None).is_none());
    assert_eq!(balancer.policy.stats.lb_healthy_panic.value(), 1);
}

#[test]
fn load_spills_to_the_next_priority() {
    let balancer = balancer(policy(PolicyKind::Random));
    let first = host_set((0..10).map(|port| if port < 5 { host(port, 1) } else { ill(port) }).collect());
    let second = host_set((100..110).map(|port| host(port, 1)).collect());
    let hosts = PrioritySet::new(vec![first, second], &balancer.policy, None);
    let ports = ports(&balancer, &hosts, 10_000);
    let of_first: usize = ports.iter().filter(|(port, _)| **port < 100).map(|(_, count)| count).sum();
    assert!((6800..7200).contains(&of_first), "{of_first} of 10000, not about 70 %");
    assert!(ports.keys().all(|port| *port < 5 || *port >= 100));
}

#[test]
fn places_are_picked_before_hosts() {
    let policy = Policy { locality_weighted: true, ..policy(PolicyKind::RoundRobin) };
    let balancer = balancer(policy);
    let (near, far) = (vec![host(1, 1)], vec![host(2, 1), host(3, 1)]);
    let mut set = Arc::into_inner(host_set([near.clone(), far.clone()].concat())).unwrap();
    set.localities = vec![
        LocalityHosts { weight: 3, hosts: Hosts::new(near) },
        LocalityHosts { weight: 1, hosts: Hosts::new(far) },
    ];
    let hosts = PrioritySet::new(vec![Arc::new(set)], &balancer.policy, None);
    assert_eq!(ports(&balancer, &hosts, 8), HashMap::from([(1, 6), (2, 1), (3, 1)]));
}

#[test]
fn a_hash_finds_the_same_host_again_and_chance_decides_without_one() {
    let store = Store::new(1);
    let stats = ring_hash::RingStats::new(&store.scope("cluster.up.ring_hash_lb"));
    let options =
        ring_hash::RingOptions { min_size: 1024, max_size: 8192, murmur: false, use_hostname: false };
    let balancer = balancer(policy(PolicyKind::RingHash(options, stats)));
    let set = host_set((1..6).map(|port| host(port, 1)).collect());
    let hosts = PrioritySet::new(vec![set], &balancer.policy, None);
    for hash in 0..100_u64 {
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let pick = || balancer.choose(&hosts, Some(hash)).unwrap().id;
        assert_eq!(pick(), pick());
    }
    assert_eq!(ports(&balancer, &hosts, 1000).len(), 5);
}

#[test]
fn a_hash_means_nothing_to_other_policies() {
    let balancer = balancer(policy(PolicyKind::RoundRobin));
    let hosts = PrioritySet::new(vec![host_set(vec![host(1, 1), host(2, 1)])], &balancer.policy, None);
    let (first, second) =
        (balancer.choose(&hosts, Some(7)).unwrap(), balancer.choose(&hosts, Some(7)).unwrap());
    assert_ne!(first.id, second.id);
}

#[test]
fn tables_of_priorities_that_stay_are_used_again() {
    let stats = maglev::MaglevStats::new(&Store::new(1).scope("cluster.up.maglev_lb"));
    let options = maglev::MaglevOptions { table_size: 101, use_hostname: false };
    let policy = policy(PolicyKind::Maglev(options, stats));
    let (first, second) = (host_set(vec![host(1, 1)]), host_set(vec![host(2, 1)]));
    let before = PrioritySet::new(vec![Arc::clone(&first), second], &policy, None);
    let after = PrioritySet::new(vec![first, host_set(vec![host(3, 1)])], &policy, Some(&before));
    let same = |priority: usize| Arc::ptr_eq(before.table(priority).unwrap(), after.table(priority).unwrap());
    assert_eq!([same(0), same(1)], [true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn round_robin_respects_weights(weights in prop::collection::vec(1..10_u32, 1..6)) {
        let balancer = balancer(policy(PolicyKind::RoundRobin));
        let set = host_set((0_u16..).zip(&weights).map(|(port, weight)| host(port, *weight)).collect());
        let hosts = PrioritySet::new(vec![set], &balancer.policy, None);
        let total: u32 = weights.iter().sum();
        let rounds = 20;
        let ports = ports(&balancer, &hosts, (total * rounds) as usize);
        for (port, weight) in (0_u16..).zip(&weights) {
            let count = ports.get(&port).copied().unwrap_or(0);
            prop_assert!(count.abs_diff((weight * rounds) as usize) <= 2, "{port}: {count}, not {weight}×{rounds}");
        }
    }
}
