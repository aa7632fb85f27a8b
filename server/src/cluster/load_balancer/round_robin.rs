//! Round robin: one host after the other, by weight.

use std::sync::Arc;

use underpass_core::cluster::Host;

use super::{
    edf::Schedule,
    picker::{Picker, weights_are_equal, wrap},
};
use crate::cluster::host_set::HostList;

/// Takes hosts in turn, starting anywhere: if every worker started with the first host, it would get the most.
pub(crate) struct RoundRobin {
    turn: u64,
    weighted: Option<(HostList, Schedule<Arc<Host>>)>,
}

impl RoundRobin {
    /// A picker that starts at a random place.
    pub(crate) fn new(start: u64) -> Self {
        Self { turn: start, weighted: None }
    }

    fn by_weight(&mut self, hosts: &HostList) -> Option<Arc<Host>> {
        let schedule = match &mut self.weighted {
            Some((list, schedule)) if Arc::ptr_eq(list, hosts) => schedule,
            other => {
                let schedule = match other.take() {
                    Some((_, old)) => old.with_entries(hosts.iter(), |host| host.id, weight),
                    None => start_at(hosts, self.turn),
                };
                &mut other.insert((Arc::clone(hosts), schedule)).1
            }
        };
        schedule.next(weight)
    }
}

impl Picker for RoundRobin {
    fn pick(&mut self, hosts: &HostList) -> Option<Arc<Host>> {
        if hosts.is_empty() {
            return None;
        }
        if !weights_are_equal(hosts) {
            return self.by_weight(hosts);
        }
        self.weighted = None;
        let host = &hosts[wrap(self.turn, hosts.len())];
        self.turn = self.turn.wrapping_add(1);
        Some(Arc::clone(host))
    }
}

fn weight(host: &Arc<Host>) -> f64 {
    f64::from(host.weight())
}

fn start_at(hosts: &HostList, start: u64) -> Schedule<Arc<Host>> {
    let mut schedule = Schedule::default();
    for host in &**hosts {
        schedule.add(weight(host), Arc::clone(host));
    }
    for _ in 0..wrap(start, hosts.len()) {
        schedule.next(weight);
    }
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::host_set::tests::host;

    fn ports(picker: &mut RoundRobin, hosts: &HostList, count: usize) -> Vec<u16> {
        (0..count).filter_map(|_| picker.pick(hosts)?.address.port()).collect()
    }

    #[test]
    fn equal_hosts_take_turns_from_anywhere() {
        let hosts: HostList = vec![host(1, 5), host(2, 5), host(3, 5)].into();
        assert_eq!(ports(&mut RoundRobin::new(4), &hosts, 5), [2, 3, 1, 2, 3]);
        assert!(RoundRobin::new(4).pick(&HostList::from(vec![])).is_none());
    }

    #[test]
    fn weights_count() {
        let hosts: HostList = vec![host(1, 3), host(2, 1)].into();
        assert_eq!(ports(&mut RoundRobin::new(0), &hosts, 8), [1, 1, 2, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn the_turn_goes_on_when_hosts_change() {
        let (a, b, c) = (host(1, 1), host(2, 1), host(3, 2));
        let mut picker = RoundRobin::new(0);
        let two: HostList = vec![a.clone(), b.clone()].into();
        assert_eq!(ports(&mut picker, &two, 3), [1, 2, 1]);
        let weighted: HostList = vec![a.clone(), b.clone(), c.clone()].into();
        let first = ports(&mut picker, &weighted, 4);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 2, 3, 3]);
        let same_but_new: HostList = vec![a, b, c].into();
        assert_eq!(
            ports(&mut picker, &same_but_new, 4),
            first,
            "a new list of the same hosts does not start anew"
        );
    }
}
