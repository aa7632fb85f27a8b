//! Membership: which hosts a cluster has, as discovery says it from time to time.
//!
//! A host that discovery names again stays the same host: its number, its stats, and what workers keep for it.

mod diff;
mod dump;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use underpass_core::{
    address::Address,
    cluster::{HealthFlag, Host, HostId, Locality},
    config::Metadata,
};

use self::diff::Diff;
use super::{
    host_set::{HostSet, Hosts, LocalityHosts},
    load_balancer::{Candidates, Policy},
    stats::ClusterStats,
};

/// Numbers for hosts, unique in the process.
#[derive(Debug, Default)]
pub(crate) struct HostIds(AtomicU64);

impl HostIds {
    fn next(&self) -> HostId {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What discovery says about a host.
#[derive(Debug, Clone)]
pub(crate) struct HostSpec {
    /// Where it is.
    pub address: Address,
    /// Further addresses of it.
    pub additional_addresses: Vec<Address>,
    /// The rest.
    pub attributes: HostAttributes,
}

/// What discovery says about a host besides its addresses.
#[derive(Debug, Clone)]
pub(crate) struct HostAttributes {
    /// Its name, or nothing.
    pub hostname: Arc<str>,
    /// Its metadata.
    pub metadata: Arc<Metadata>,
    /// Its weight.
    pub weight: u32,
    /// Bits of [`HealthFlag`]: those that discovery sets.
    pub health: u32,
}

/// What discovery says about the hosts of one place.
#[derive(Debug, Clone)]
pub(crate) struct PlaceSpec {
    /// The place.
    pub locality: Arc<Locality>,
    /// Its weight; 0 keeps it out of balancing by locality.
    pub weight: u32,
    /// Its hosts.
    pub hosts: Vec<HostSpec>,
}

/// What holds for all priorities of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AssignmentPolicy {
    /// In percent.
    pub overprovisioning_factor: u32,
    /// Whether the health of a priority counts weights rather than hosts.
    pub weighted_health: bool,
}

/// The flags that discovery sets; all others belong to health checks and outlier detection.
pub(crate) const DISCOVERED: u32 = HealthFlag::FailedEdsHealth as u32
    | HealthFlag::DegradedEdsHealth as u32
    | HealthFlag::EdsStatusDraining as u32;

/// Which hosts a cluster has.
pub(crate) struct Membership {
    policy: Arc<Policy>,
    stats: ClusterStats,
    ids: Arc<HostIds>,
    /// Each thread of Envoy counts its own subsets, the main thread included; these numbers are made to match.
    threads: u64,
    candidates: ArcSwap<Candidates>,
    /// How often they were replaced.
    generation: AtomicU64,
    state: Mutex<State>,
}

struct State {
    assignment: AssignmentPolicy,
    priorities: Vec<Vec<Place>>,
    /// Hosts of the version before, which discovery has not named yet.
    inherited: Vec<Arc<Host>>,
}

/// A place and its hosts.
#[derive(Debug, Clone, Default)]
struct Place {
    locality: Arc<Locality>,
    weight: u32,
    hosts: Vec<Arc<Host>>,
}

impl Membership {
    /// A cluster without hosts. Of `inherited`, those that discovery names will be the same hosts again.
    pub(crate) fn new(
        policy: Arc<Policy>,
        assignment: AssignmentPolicy,
        stats: ClusterStats,
        ids: Arc<HostIds>,
        threads: u64,
        inherited: Vec<Arc<Host>>,
    ) -> Self {
        let priorities = vec![Vec::new()];
        let set = Arc::new(host_set(&priorities[0], assignment, &policy));
        let candidates = ArcSwap::from_pointee(Candidates::new(vec![set], &policy, None));
        let state = Mutex::new(State { assignment, priorities, inherited });
        Self { policy, stats, ids, threads, candidates, generation: AtomicU64::new(0), state }
    }

    /// Tells whether the [candidates](Self::candidates) are still the same, which takes less than a look at them.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The hosts as workers pick from them.
    pub(crate) fn candidates(&self) -> arc_swap::Guard<Arc<Candidates>> {
        self.candidates.load()
    }

    /// All hosts, by priority and in the order of the configuration.
    pub(crate) fn hosts(&self) -> Vec<Arc<Host>> {
        self.lock().priorities.iter().flatten().flat_map(|place| place.hosts.iter().cloned()).collect()
    }

    /// The hosts as discovery said them last.
    pub(crate) fn specs(&self) -> (Vec<Vec<PlaceSpec>>, AssignmentPolicy) {
        let state = self.lock();
        let host = |host: &Arc<Host>| HostSpec {
            address: host.address.clone(),
            additional_addresses: host.additional_addresses.clone(),
            attributes: HostAttributes {
                hostname: Arc::clone(&host.hostname),
                metadata: Arc::clone(&host.metadata),
                weight: host.weight.load(Ordering::Relaxed),
                health: host.health.load(Ordering::Relaxed) & DISCOVERED,
            },
        };
        let place = |place: &Place| PlaceSpec {
            locality: Arc::clone(&place.locality),
            weight: place.weight,
            hosts: place.hosts.iter().map(host).collect(),
        };
        let specs = state.priorities.iter().map(|places| places.iter().map(place).collect()).collect();
        (specs, state.assignment)
    }

    /// Replaces all hosts. Returns whether anything changed.
    pub(crate) fn assign(&self, priorities: Vec<Vec<PlaceSpec>>, assignment: AssignmentPolicy) -> bool {
        let mut state = self.lock();
        let count = priorities.len().max(state.priorities.len()).max(1);
        let mut specs = priorities.into_iter();
        let mut stale = vec![state.assignment != assignment; count];
        state.assignment = assignment;
        for (priority, stale) in stale.iter_mut().enumerate() {
            *stale |= self.replace(&mut state, priority, specs.next().unwrap_or_default());
        }
        self.publish(&state, &stale)
    }

    /// Replaces the hosts of one priority. Returns whether anything changed.
    pub(crate) fn assign_priority(&self, priority: usize, places: Vec<PlaceSpec>) -> bool {
        let mut state = self.lock();
        let changed = self.replace(&mut state, priority, places);
        let mut stale = vec![false; state.priorities.len()];
        stale[priority] = changed;
        self.publish(&state, &stale)
    }

    /// A host that is none of the cluster's yet ([`publish_hosts`](Self::publish_hosts)).
    pub(crate) fn new_host(&self, address: Address, hostname: Arc<str>) -> Arc<Host> {
        Arc::new(Host { hostname, ..Host::new(self.ids.next(), address) })
    }

    /// Replaces all hosts by ones that are made already, without regard to places. Returns whether anything changed.
    pub(crate) fn publish_hosts(&self, hosts: Vec<Arc<Host>>) -> bool {
        let mut state = self.lock();
        let ids = |hosts: &[Arc<Host>]| hosts.iter().map(|host| host.id).collect::<Vec<_>>();
        let present: Vec<_> =
            state.priorities.iter().flatten().flat_map(|place| place.hosts.clone()).collect();
        if ids(&present) == ids(&hosts) {
            return false;
        }
        state.priorities = vec![vec![Place { hosts, ..Place::default() }]];
        self.stats.endpoints.membership_change.inc();
        self.publish(&state, &[true])
    }

    /// Sets or clears a health flag of a host; for health checks and outlier detection. Returns whether that changed
    /// anything.
    pub(crate) fn set_health(&self, id: HostId, flag: HealthFlag, on: bool) -> bool {
        let state = self.lock();
        let stale = state.priorities.iter().map(|places| {
            let host = places.iter().flat_map(|place| &place.hosts).find(|host| host.id == id);
            host.is_some_and(|host| {
                let bit = flag as u32;
                let before = if on {
                    host.health.fetch_or(bit, Ordering::Relaxed)
                } else {
                    host.health.fetch_and(!bit, Ordering::Relaxed)
                };
                (before & bit != 0) != on
            })
        });
        let stale: Vec<_> = stale.collect();
        self.publish(&state, &stale)
    }

    /// Lets go of what the version before had and discovery did not name.
    pub(crate) fn settle(&self) {
        self.lock().inherited.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, state: &mut State, priority: usize, specs: Vec<PlaceSpec>) -> bool {
        if state.priorities.len() <= priority {
            state.priorities.resize_with(priority + 1, Vec::new);
        }
        let places = std::mem::take(&mut state.priorities[priority]);
        let diff = Diff::new(&places, specs, priority, &mut state.inherited, &self.ids);
        state.priorities[priority] = diff.places;
        if diff.members_changed {
            self.stats.endpoints.membership_change.inc();
        }
        diff.members_changed || diff.attributes_changed
    }

    /// Makes the sets anew that are stale. Returns whether there are any.
    fn publish(&self, state: &State, stale: &[bool]) -> bool {
        if !stale.contains(&true) {
            return false;
        }
        let old = self.candidates.load_full();
        let sets = state.priorities.iter().enumerate().map(|(priority, places)| {
            let kept = old.hosts.sets.get(priority).filter(|_| !stale[priority]);
            kept.cloned().unwrap_or_else(|| Arc::new(host_set(places, state.assignment, &self.policy)))
        });
        let next = Candidates::new(sets.collect(), &self.policy, Some(&old));
        self.count(&old, &next);
        self.candidates.store(Arc::new(next));
        // After them, so that whoever finds this number finds them, too.
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    fn count(&self, old: &Candidates, next: &Candidates) {
        let sum = |of: fn(&HostSet) -> usize| next.hosts.sets.iter().map(|set| of(set) as u64).sum();
        let stats = &self.stats.endpoints;
        stats.membership_total.set(sum(|set| set.hosts.all.len()));
        stats.membership_healthy.set(sum(|set| set.hosts.healthy.len()));
        stats.membership_degraded.set(sum(|set| set.hosts.degraded.len()));
        stats.membership_excluded.set(sum(|set| set.hosts.excluded));
        let gone = old.subset_keys().filter(|key| !next.has_subset(key)).count() as u64;
        let new = next.subset_keys().filter(|key| !old.has_subset(key)).count() as u64;
        // What never changes does not count as used.
        if gone > 0 || new > 0 {
            self.policy.stats.lb_subsets_created.add(new * self.threads);
            self.policy.stats.lb_subsets_removed.add(gone * self.threads);
            self.policy.stats.lb_subsets_active.set(next.subset_keys().count() as u64 * self.threads);
        }
    }
}

fn host_set(places: &[Place], assignment: AssignmentPolicy, policy: &Policy) -> HostSet {
    let by_place =
        |place: &Place| LocalityHosts { weight: place.weight, hosts: Hosts::new(place.hosts.clone()) };
    let localities =
        if policy.locality_weighted { places.iter().map(by_place).collect() } else { Vec::new() };
    HostSet {
        hosts: Hosts::new(places.iter().flat_map(|place| place.hosts.iter().cloned()).collect()),
        localities,
        overprovisioning_factor: assignment.overprovisioning_factor,
        weighted_health: assignment.weighted_health,
    }
}

#[cfg(test)]
mod tests;
