//! Least request: of some hosts picked at random, the one with the fewest active requests.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers#weighted-least-request>

use std::sync::{Arc, atomic::Ordering};

use fastrand::Rng;
use underpass_core::cluster::Host;

use super::{
    edf::Schedule,
    picker::{Picker, weights_are_equal},
};
use crate::cluster::host_set::HostList;

/// Compares hosts by their active requests.
pub(crate) struct LeastRequest {
    choice_count: u32,
    bias: f64,
    random: Rng,
    weighted: Option<(HostList, Schedule<Arc<Host>>)>,
}

impl LeastRequest {
    /// Compares `choice_count` hosts. Where weights differ, active requests count to the power of `bias` instead.
    pub(crate) fn new(choice_count: u32, bias: f64, random: Rng) -> Self {
        Self { choice_count, bias, random, weighted: None }
    }

    /// Where weights differ, hosts take turns, and a busy one is due later the busier it is.
    fn by_weight(&mut self, hosts: &HostList) -> Option<Arc<Host>> {
        let bias = self.bias;
        let weight =
            |host: &Arc<Host>| f64::from(host.weight()) / (active_requests(host) as f64 + 1.0).powf(bias);
        let schedule = match &mut self.weighted {
            Some((list, schedule)) if Arc::ptr_eq(list, hosts) => schedule,
            other => {
                let old = other.take().map(|(_, schedule)| schedule).unwrap_or_default();
                let schedule = old.with_entries(hosts.iter(), |host| host.id, weight);
                &mut other.insert((Arc::clone(hosts), schedule)).1
            }
        };
        schedule.next(weight)
    }
}

impl Picker for LeastRequest {
    fn pick(&mut self, hosts: &HostList) -> Option<Arc<Host>> {
        if !weights_are_equal(hosts) {
            return self.by_weight(hosts);
        }
        self.weighted = None;
        let candidates = (0..self.choice_count).filter_map(|_| self.random.choice(&**hosts));
        candidates.min_by_key(|host| active_requests(host)).cloned()
    }
}

fn active_requests(host: &Host) -> u64 {
    host.stats.rq_active.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::host_set::tests::host;

    fn count(picker: &mut LeastRequest, hosts: &HostList, picks: usize, of: u16) -> usize {
        (0..picks).filter(|_| picker.pick(hosts).unwrap().address.port() == Some(of)).count()
    }

    #[test]
    fn an_idle_host_wins_every_comparison() {
        let hosts: HostList = vec![host(1, 1), host(2, 1)].into();
        hosts[0].stats.rq_active.store(10, Ordering::Relaxed);
        let mut picker = LeastRequest::new(2, 1.0, Rng::with_seed(1));
        // The busy one is only picked when it is compared with itself, which is one time in four.
        let busy = count(&mut picker, &hosts, 4000, 1);
        assert!((900..1100).contains(&busy), "{busy}");
    }

    #[test]
    fn weights_shrink_with_active_requests() {
        let hosts: HostList = vec![host(1, 4), host(2, 1)].into();
        let mut picker = LeastRequest::new(2, 1.0, Rng::with_seed(1));
        assert_eq!(count(&mut picker, &hosts, 500, 1), 400);
        hosts[0].stats.rq_active.store(3, Ordering::Relaxed);
        let balanced = count(&mut picker, &hosts, 500, 1);
        assert!((245..=255).contains(&balanced), "{balanced}");
    }

    #[test]
    fn without_bias_only_weights_count() {
        let hosts: HostList = vec![host(1, 4), host(2, 1)].into();
        hosts[0].stats.rq_active.store(100, Ordering::Relaxed);
        let mut picker = LeastRequest::new(2, 0.0, Rng::with_seed(1));
        assert_eq!(count(&mut picker, &hosts, 500, 1), 400);
    }

    #[test]
    fn nobody_is_picked_of_nobody() {
        assert!(LeastRequest::new(2, 1.0, Rng::with_seed(1)).pick(&HostList::from(vec![])).is_none());
    }
}
