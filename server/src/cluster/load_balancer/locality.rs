//! Balancing by locality: a place is picked by its weight, then a host in it.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/locality_weight>

use std::sync::Arc;

use super::{edf::Schedule, priority_load::Availability};
use crate::cluster::host_set::{HostList, HostSet, LocalityHosts};

/// Picks places; belongs to one worker, one priority and one availability.
#[derive(Default)]
pub(crate) struct LocalityPicker {
    set: Option<Arc<HostSet>>,
    schedule: Schedule<usize>,
    /// By place.
    weights: Vec<f64>,
}

impl LocalityPicker {
    /// The index of the next place of a set; `None` if no place has hosts that can be used.
    pub(crate) fn pick(&mut self, set: &Arc<HostSet>, availability: Availability) -> Option<usize> {
        if !self.set.as_ref().is_some_and(|present| Arc::ptr_eq(present, set)) {
            let weigh = |place| effective_weight(place, availability, set.overprovisioning_factor);
            self.weights = set.localities.iter().map(weigh).collect();
            let places: Vec<_> = (0..self.weights.len()).collect();
            self.schedule =
                self.schedule.with_entries(places.iter(), |place| *place, |place| self.weights[*place]);
            // A place that lost its weight must not keep its turn.
            self.schedule.retain(|place| self.weights[*place] > 0.0);
            self.set = Some(Arc::clone(set));
        }
        let weights = &self.weights;
        self.schedule.next(|place| weights[*place])
    }
}

/// The hosts of a place that are meant.
pub(crate) fn hosts_of(place: &LocalityHosts, availability: Availability) -> &HostList {
    match availability {
        Availability::Healthy => &place.hosts.healthy,
        Availability::Degraded => &place.hosts.degraded,
    }
}

/// A place's weight shrinks when, with some reserve, too few of its hosts can be used.
fn effective_weight(place: &LocalityHosts, availability: Availability, overprovisioning_factor: u32) -> f64 {
    let counted = place.hosts.counted();
    if counted == 0 {
        return 0.0;
    }
    let share = hosts_of(place, availability).len() as f64 / counted as f64;
    f64::from(place.weight) * (share * f64::from(overprovisioning_factor) / 100.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use underpass_core::cluster::HealthFlag;

    use super::*;
    use crate::cluster::host_set::{
        Hosts,
        tests::{flagged, host, host_set},
    };

    fn place(weight: u32, healthy: u16, ill: u16) -> LocalityHosts {
        let healthy = (0..healthy).map(|port| host(port, 1));
        let ill = (0..ill).map(|port| flagged(100 + port, HealthFlag::FailedEdsHealth));
        LocalityHosts { weight, hosts: Hosts::new(healthy.chain(ill).collect()) }
    }

    fn set(localities: Vec<LocalityHosts>) -> Arc<HostSet> {
        let all = localities.iter().flat_map(|place| place.hosts.all.iter().cloned()).collect();
        let mut set = Arc::into_inner(host_set(all)).unwrap();
        set.localities = localities;
        Arc::new(set)
    }

    /// How many of a hundred picks go to the first place, whose weight is 1 while the other's is 2.
    fn first_of_a_hundred(healthy: u16, ill: u16) -> usize {
        let set = set(vec![place(1, healthy, ill), place(2, 10, 0)]);
        let mut picker = LocalityPicker::default();
        (0..100).filter(|_| picker.pick(&set, Availability::Healthy) == Some(0)).count()
    }

    // The table of Envoy's documentation ("Locality weighted load balancing").
    #[test]
    fn places_get_load_as_documented() {
        let shares = [(100, 0), (70, 30), (69, 31), (50, 50), (25, 75), (0, 100)];
        let shares = shares.map(|(healthy, ill)| first_of_a_hundred(healthy, ill));
        assert_eq!(shares, [33, 33, 32, 26, 15, 0]);
    }

    #[test]
    fn no_place_can_be_picked_if_none_has_weight_or_hosts() {
        let mut picker = LocalityPicker::default();
        assert_eq!(picker.pick(&set(vec![]), Availability::Healthy), None);
        assert_eq!(picker.pick(&set(vec![place(0, 3, 0), place(5, 0, 2)]), Availability::Healthy), None);
        assert_eq!(picker.pick(&set(vec![place(1, 1, 0)]), Availability::Degraded), None);
    }

    #[test]
    fn a_place_that_fails_loses_its_turn_at_once() {
        let mut picker = LocalityPicker::default();
        let both = set(vec![place(1, 1, 0), place(1, 1, 0)]);
        assert_eq!(picker.pick(&both, Availability::Healthy), Some(0));
        let first_only = set(vec![place(1, 1, 0), place(1, 0, 1)]);
        let picks: Vec<_> = (0..3).filter_map(|_| picker.pick(&first_only, Availability::Healthy)).collect();
        assert_eq!(picks, [0, 0, 0]);
    }
}
