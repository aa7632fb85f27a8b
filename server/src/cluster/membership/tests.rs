use std::net::SocketAddr;

use underpass_core::stats::Store;

use super::*;
use crate::cluster::{load_balancer::PolicyKind, stats::LbStats};

const ENVOYS: AssignmentPolicy = AssignmentPolicy { overprovisioning_factor: 140, weighted_health: false };

fn policy() -> Policy {
    Policy {
        kind: PolicyKind::RoundRobin,
        panic_threshold: 50,
        fail_traffic_on_panic: false,
        locality_weighted: false,
        subsets: None,
        stats: LbStats::new(&Store::new(1).scope("cluster.up")),
    }
}

fn membership(inherited: Vec<Arc<Host>>) -> Membership {
    let stats = ClusterStats::new(&Store::new(1).scope("cluster.up"));
    Membership::new(Arc::new(policy()), ENVOYS, stats, Arc::default(), 2, inherited)
}

fn spec(port: u16) -> HostSpec {
    HostSpec {
        address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
        additional_addresses: Vec::new(),
        attributes: HostAttributes { hostname: "".into(), metadata: Arc::default(), weight: 1, health: 0 },
    }
}

fn with(port: u16, change: impl FnOnce(&mut HostAttributes)) -> HostSpec {
    let mut spec = spec(port);
    change(&mut spec.attributes);
    spec
}

fn place(hosts: Vec<HostSpec>) -> Vec<PlaceSpec> {
    vec![PlaceSpec { locality: Arc::default(), weight: 0, hosts }]
}

impl Membership {
    fn assign_ports(&self, ports: &[u16]) -> bool {
        self.assign(vec![place(ports.iter().map(|port| spec(*port)).collect())], ENVOYS)
    }

    fn ids(&self) -> Vec<HostId> {
        self.hosts().iter().map(|host| host.id).collect()
    }
}

#[test]
fn hosts_that_stay_are_the_same_hosts() {
    let members = membership(vec![]);
    assert!(members.assign_ports(&[1, 2, 3]));
    let before = members.hosts();
    before[1].stats.cx_total.store(7, Ordering::Relaxed);
    assert!(members.assign_ports(&[4, 2]));
    let after = members.hosts();
    assert!(Arc::ptr_eq(&before[1], &after[1]));
    assert!(!before.iter().any(|host| host.id == after[0].id));
    assert_eq!(members.stats.endpoints.membership_change.value(), 2);
    assert_eq!(members.stats.endpoints.membership_total.value(), 2);
}

#[test]
fn the_same_hosts_again_change_nothing() {
    let members = membership(vec![]);
    members.assign_ports(&[1, 2]);
    let before = members.candidates.load_full();
    assert!(!members.assign_ports(&[1, 2]));
    assert!(Arc::ptr_eq(&before, &members.candidates.load_full()));
}

#[test]
fn two_hosts_of_one_address_stay_two() {
    let members = membership(vec![]);
    members.assign_ports(&[1, 1]);
    let before = members.ids();
    assert_ne!(before[0], before[1]);
    assert!(!members.assign_ports(&[1, 1]));
    assert_eq!(members.ids(), before);
}

#[test]
fn weight_and_health_change_without_a_change_of_members() {
    let members = membership(vec![]);
    members.assign_ports(&[1, 2]);
    let before = members.ids();
    let ill = with(1, |host| (host.weight, host.health) = (5, HealthFlag::FailedEdsHealth as u32));
    assert!(members.assign(vec![place(vec![ill, spec(2)])], ENVOYS));
    assert_eq!(members.ids(), before);
    let stats = &members.stats.endpoints;
    assert_eq!((stats.membership_change.value(), stats.membership_healthy.value()), (1, 1));
    assert_eq!(members.hosts()[0].weight(), 5);
    assert!(members.assign_ports(&[1, 2]), "it is healthy again");
    assert_eq!(stats.membership_healthy.value(), 2);
}

#[test]
fn what_health_checks_found_outlives_discovery() {
    let members = membership(vec![]);
    members.assign_ports(&[1, 2]);
    let id = members.ids()[0];
    assert!(members.set_health(id, HealthFlag::FailedActiveHealthCheck, true));
    assert!(!members.set_health(id, HealthFlag::FailedActiveHealthCheck, true));
    assert_eq!(members.candidates().hosts.sets[0].hosts.healthy.len(), 1);
    let ill = with(1, |host| host.health = HealthFlag::DegradedEdsHealth as u32);
    members.assign(vec![place(vec![ill, spec(2)])], ENVOYS);
    assert!(members.hosts()[0].has(HealthFlag::FailedActiveHealthCheck));
    assert!(members.set_health(id, HealthFlag::FailedActiveHealthCheck, false));
    assert_eq!(members.stats.endpoints.membership_degraded.value(), 1);
    assert!(!members.set_health(99, HealthFlag::FailedActiveHealthCheck, true), "there is no such host");
}

#[test]
fn another_name_or_metadata_makes_another_host() {
    let members = membership(vec![]);
    members.assign_ports(&[1]);
    let first = members.ids();
    members.assign(vec![place(vec![with(1, |host| host.hostname = "a".into())])], ENVOYS);
    assert_ne!(members.ids(), first);
}

#[test]
fn priorities_change_on_their_own() {
    let members = membership(vec![]);
    members.assign(vec![place(vec![spec(1)]), place(vec![spec(2)])], ENVOYS);
    let before = members.candidates.load_full();
    members.assign_priority(1, place(vec![spec(2), spec(3)]));
    let after = members.candidates.load_full();
    assert!(Arc::ptr_eq(&before.hosts.sets[0], &after.hosts.sets[0]));
    assert!(!Arc::ptr_eq(&before.hosts.sets[1], &after.hosts.sets[1]));
    assert!(members.assign(vec![place(vec![spec(1)])], ENVOYS), "a priority that is not named is empty");
    assert_eq!(members.hosts().len(), 1);
}

#[test]
fn the_next_version_takes_over_hosts_that_it_names() {
    let old = membership(vec![]);
    old.assign_ports(&[1, 2]);
    let new = membership(old.hosts());
    assert!(new.hosts().is_empty());
    new.assign_ports(&[2, 3]);
    assert!(Arc::ptr_eq(&new.hosts()[0], &old.hosts()[1]));
    new.settle();
    new.assign_ports(&[1]);
    assert!(!Arc::ptr_eq(&new.hosts()[0], &old.hosts()[0]));
}
