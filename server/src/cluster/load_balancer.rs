//! Load balancing: which host of a cluster gets the next connection.
//!
//! What follows from the hosts alone (shares of priorities, hash tables, subsets) is worked out once when hosts change and
//! shared by all workers: a [`PrioritySet`]. What changes with every pick (whose turn it is) belongs to one worker: a
//! [`LoadBalancer`]. <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/overview>

mod balancer;
mod edf;
mod hashing;
mod least_request;
mod locality;
mod maglev;
mod murmur;
mod picker;
mod policy;
mod priority_load;
mod priority_set;
mod random;
mod ring_hash;
mod round_robin;
mod subset;

use std::{cell::RefCell, collections::hash_map::Entry, sync::Arc};

use fastrand::Rng;
use rustc_hash::FxHashMap;
use underpass_core::cluster::Host;

pub(crate) use self::{
    balancer::{Balancer, Candidates},
    policy::{Policy, PolicyKind},
    priority_set::PrioritySet,
};
use self::{
    least_request::LeastRequest,
    locality::{LocalityPicker, hosts_of},
    picker::Picker,
    priority_load::Availability,
    random::Random,
    round_robin::RoundRobin,
};
use super::host_set::HostSet;

/// Picks hosts on one worker. It knows whose turn it is, but not by which rules: they may change while turns go on.
pub(crate) struct LoadBalancer {
    random: RefCell<Rng>,
    pickers: RefCell<FxHashMap<Source, Box<dyn Picker>>>,
    localities: RefCell<FxHashMap<(usize, Availability), LocalityPicker>>,
}

/// The list of hosts that a picker picks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// All hosts of a priority.
    All(usize),
    /// The usable hosts of a priority.
    Usable(usize, Availability),
    /// The usable hosts of a place in a priority.
    Locality(usize, Availability, usize),
}

impl LoadBalancer {
    /// A balancer of a worker.
    pub(crate) fn new(random: Rng) -> Self {
        Self { random: RefCell::new(random), pickers: RefCell::default(), localities: RefCell::default() }
    }

    /// Picks a host for a hash, if there is one.
    pub(crate) fn choose(
        &self,
        policy: &Policy,
        hosts: &PrioritySet,
        hash: Option<u64>,
    ) -> Option<Arc<Host>> {
        let number = hash.filter(|_| policy.kind.uses_hash()).unwrap_or_else(|| self.random_number());
        let (priority, availability) = hosts.loads.choose(number);
        let panic = hosts.loads.panic[priority];
        if panic {
            policy.stats.lb_healthy_panic.inc();
            if policy.fail_traffic_on_panic {
                return None;
            }
        }
        if let Some(table) = hosts.table(priority) {
            return table.find(number).cloned();
        }
        let set = &hosts.sets[priority];
        let source = if panic { Source::All(priority) } else { self.source(set, priority, availability) };
        self.pick(policy, set, source)
    }

    /// Where a priority is balanced by locality, the place comes first.
    fn source(&self, set: &Arc<HostSet>, priority: usize, availability: Availability) -> Source {
        if set.localities.is_empty() {
            return Source::Usable(priority, availability);
        }
        let mut localities = self.localities.borrow_mut();
        let place = localities.entry((priority, availability)).or_default().pick(set, availability);
        match place {
            Some(place) => Source::Locality(priority, availability, place),
            None => Source::Usable(priority, availability),
        }
    }

    fn pick(&self, policy: &Policy, set: &HostSet, source: Source) -> Option<Arc<Host>> {
        let hosts = match source {
            Source::All(_) => &set.hosts.all,
            Source::Usable(_, Availability::Healthy) => &set.hosts.healthy,
            Source::Usable(_, Availability::Degraded) => &set.hosts.degraded,
            Source::Locality(_, availability, place) => hosts_of(&set.localities[place], availability),
        };
        match self.pickers.borrow_mut().entry(source) {
            Entry::Occupied(mut present) => present.get_mut().pick(hosts),
            Entry::Vacant(none) => none.insert(self.new_picker(policy)).pick(hosts),
        }
    }

    fn new_picker(&self, policy: &Policy) -> Box<dyn Picker> {
        let mut random = self.random.borrow_mut();
        match &policy.kind {
            PolicyKind::LeastRequest { choice_count, bias } => {
                Box::new(LeastRequest::new(*choice_count, *bias, random.fork()))
            }
            PolicyKind::Random => Box::new(Random::new(random.fork())),
            // Those that use hashes have tables and never come here.
            PolicyKind::RoundRobin | PolicyKind::RingHash(..) | PolicyKind::Maglev(..) => {
                Box::new(RoundRobin::new(random.u64(..)))
            }
        }
    }

    fn random_number(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }
}

#[cfg(test)]
mod tests;
