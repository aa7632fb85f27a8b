use proptest::prelude::*;
use underpass_core::cluster::HealthFlag;

use super::*;
use crate::cluster::host_set::tests::{flagged, host, host_set};

/// A priority of ten or a hundred hosts, of which so many are healthy and degraded.
fn set(total: u16, healthy: u16, degraded: u16) -> Arc<HostSet> {
    let hosts = (0..total).map(|n| match n {
        n if n < healthy => host(n, 1),
        n if n < healthy + degraded => flagged(n, HealthFlag::DegradedEdsHealth),
        n => flagged(n, HealthFlag::FailedEdsHealth),
    });
    host_set(hosts.collect())
}

fn loads(sets: &[(u16, u16, u16)], threshold: u32) -> PriorityLoads {
    let sets: Vec<_> =
        sets.iter().map(|(total, healthy, degraded)| set(*total, *healthy, *degraded)).collect();
    PriorityLoads::new(&sets, threshold)
}

fn healthy(sets: &[u16]) -> Vec<u32> {
    let sets: Vec<_> = sets.iter().map(|healthy| (100, *healthy, 0)).collect();
    loads(&sets, 0).healthy
}

// The tables of Envoy's documentation ("Priority levels", healthy endpoints in percent -> traffic).
#[test]
fn two_priorities_spill_over_as_documented() {
    assert_eq!(healthy(&[100, 100]), [100, 0]);
    assert_eq!(healthy(&[72, 100]), [100, 0]);
    assert_eq!(healthy(&[71, 100]), [99, 1]);
    assert_eq!(healthy(&[50, 100]), [70, 30]);
    assert_eq!(healthy(&[25, 100]), [35, 65]);
    assert_eq!(healthy(&[0, 100]), [0, 100]);
    assert_eq!(healthy(&[25, 25]), [50, 50]);
}

#[test]
fn three_priorities_spill_over_as_documented() {
    assert_eq!(healthy(&[100, 100, 100]), [100, 0, 0]);
    assert_eq!(healthy(&[72, 72, 100]), [100, 0, 0]);
    assert_eq!(healthy(&[71, 71, 100]), [99, 1, 0]);
    assert_eq!(healthy(&[50, 50, 100]), [70, 30, 0]);
    assert_eq!(healthy(&[25, 100, 100]), [35, 65, 0]);
    assert_eq!(healthy(&[25, 25, 100]), [35, 35, 30]);
    // The table says 36, 36, 28; Envoy rounds down and gives what is left to the first.
    assert_eq!(healthy(&[25, 25, 20]), [37, 35, 28]);
}

// The table of Envoy's documentation ("Degraded endpoints": healthy, degraded and other endpoints in percent).
#[test]
fn degraded_hosts_take_what_healthy_ones_cannot() {
    let show = |healthy, degraded| {
        let loads = loads(&[(100, healthy, degraded)], 0);
        (loads.healthy[0], loads.degraded[0])
    };
    assert_eq!(show(100, 0), (100, 0));
    assert_eq!(show(71, 0), (100, 0));
    assert_eq!(show(71, 29), (99, 1));
    assert_eq!(show(25, 65), (35, 65));
    assert_eq!(show(5, 0), (100, 0));
}

#[test]
fn healthy_hosts_of_all_priorities_come_before_degraded_ones_of_any() {
    let loads = loads(&[(100, 10, 20), (100, 20, 10), (100, 10, 0)], 0);
    assert_eq!((loads.healthy, loads.degraded), (vec![16, 28, 14], vec![28, 14, 0]));
}

// The tables of Envoy's documentation ("Panic threshold", default of 50 %); where its shares of traffic contradict
// those of "Priority levels" or forget the rest of rounding, Envoy's arithmetic counts.
#[test]
fn priorities_panic_as_documented() {
    let show = |first, second| {
        let loads = loads(&[(100, first, 0), (100, second, 0)], 50);
        (loads.healthy[0], loads.panic[0], loads.healthy[1], loads.panic[1])
    };
    assert_eq!(show(72, 72), (100, false, 0, false));
    assert_eq!(show(71, 71), (99, false, 1, false));
    assert_eq!(show(50, 60), (70, false, 30, false));
    assert_eq!(show(25, 100), (35, false, 65, false));
    assert_eq!(show(25, 25), (50, true, 50, true));
    assert_eq!(show(5, 65), (8, true, 92, false));
}

#[test]
fn total_panic_spreads_by_the_number_of_hosts() {
    let total = loads(&[(30, 0, 0), (10, 0, 0)], 50);
    assert_eq!((total.healthy, total.panic), (vec![75, 25], vec![true, true]));
    let empty = loads(&[(0, 0, 0), (0, 0, 0)], 50);
    assert_eq!((empty.healthy, empty.panic), (vec![100, 0], vec![true, true]));
}

#[test]
fn without_panic_nobody_is_asked_when_nobody_is_healthy() {
    let none = loads(&[(10, 0, 0)], 0);
    assert_eq!((none.healthy, none.panic), (vec![100], vec![false]));
}

#[test]
fn hosts_that_do_not_count_do_not_speak_against_their_priority() {
    let hosts = vec![
        host(1, 1),
        flagged(2, HealthFlag::EdsStatusDraining),
        flagged(3, HealthFlag::EdsStatusDraining),
    ];
    let loads = PriorityLoads::new(&[host_set(hosts)], 50);
    assert_eq!((loads.healthy, loads.panic), (vec![100], vec![false]));
}

#[test]
fn weights_count_where_they_are_asked_to() {
    let heavy_is_ill = vec![host(1, 1), flagged(2, HealthFlag::FailedEdsHealth)];
    heavy_is_ill[1].weight.store(9, std::sync::atomic::Ordering::Relaxed);
    let mut set = Arc::into_inner(host_set(heavy_is_ill)).unwrap();
    set.weighted_health = true;
    let loads = PriorityLoads::new(&[Arc::new(set), self::set(10, 10, 0)], 0);
    assert_eq!(loads.healthy, [14, 86]);
}

#[test]
fn a_number_finds_its_priority() {
    let loads = PriorityLoads { healthy: vec![50, 20], degraded: vec![30, 0], panic: vec![false; 2] };
    let found: Vec<_> = [0, 49, 50, 69, 70, 99, 100].into_iter().map(|number| loads.choose(number)).collect();
    let (healthy, degraded) = (Availability::Healthy, Availability::Degraded);
    assert_eq!(
        found,
        [(0, healthy), (0, healthy), (1, healthy), (1, healthy), (0, degraded), (0, degraded), (0, healthy)]
    );
}

proptest! {
    #[test]
    fn the_load_always_adds_up(sets in prop::collection::vec((0..20_u16, 0..20_u16, 0..20_u16), 1..6), threshold in 0..100_u32) {
        let sets: Vec<_> = sets
            .into_iter()
            .map(|(total, healthy, degraded)| (total, healthy.min(total), degraded.min(total - healthy.min(total))))
            .collect();
        let loads = loads(&sets, threshold);
        let sum: u32 = loads.healthy.iter().chain(&loads.degraded).sum();
        prop_assert_eq!(sum, 100);
    }
}
