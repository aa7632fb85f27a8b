//! What balancers pick from: the hosts of a cluster, or of a subset of them, with all that is worked out once for all workers.

use std::sync::Arc;

use super::{
    Policy, PolicyKind,
    hashing::{HashTable, weighted_hosts},
    maglev::Table,
    priority_load::PriorityLoads,
    ring_hash::Ring,
};
use crate::cluster::host_set::HostSet;

/// Hosts by priority at one moment; never changed, only replaced.
pub(crate) struct PrioritySet {
    /// By priority; there is at least one.
    pub sets: Vec<Arc<HostSet>>,
    /// How load is spread over them.
    pub loads: PriorityLoads,
    /// By priority, if the policy uses hashes.
    tables: Vec<Arc<dyn HashTable>>,
}

impl PrioritySet {
    /// Works out loads and tables; what `previous` has worked out for sets that stay is used again.
    pub(crate) fn new(sets: Vec<Arc<HostSet>>, policy: &Policy, previous: Option<&Self>) -> Self {
        debug_assert!(!sets.is_empty(), "there is always a first priority");
        let loads = PriorityLoads::new(&sets, policy.panic_threshold);
        let tables = sets.iter().enumerate().filter_map(|(priority, set)| {
            let panic = loads.panic[priority];
            let same = |old: &&Self| {
                let stays = old.sets.get(priority).is_some_and(|old| Arc::ptr_eq(old, set));
                stays && old.loads.panic[priority] == panic
            };
            let kept = previous.filter(same).and_then(|old| old.tables.get(priority).cloned());
            kept.or_else(|| build_table(set, panic, policy))
        });
        let tables = tables.collect();
        Self { sets, loads, tables }
    }

    /// The table of a priority, if the policy uses hashes.
    pub(crate) fn table(&self, priority: usize) -> Option<&Arc<dyn HashTable>> {
        self.tables.get(priority)
    }

    /// Whether there is no host at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.iter().all(|set| set.hosts.all.is_empty())
    }
}

fn build_table(set: &HostSet, panic: bool, policy: &Policy) -> Option<Arc<dyn HashTable>> {
    match &policy.kind {
        PolicyKind::RingHash(options, stats) => {
            Some(Arc::new(Ring::new(&weighted_hosts(set, panic), options, stats)))
        }
        PolicyKind::Maglev(options, stats) => {
            Some(Arc::new(Table::new(&weighted_hosts(set, panic), options, stats)))
        }
        PolicyKind::RoundRobin | PolicyKind::LeastRequest { .. } | PolicyKind::Random => None,
    }
}
