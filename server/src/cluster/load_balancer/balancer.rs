//! A cluster's balancer on one worker, subsets included.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fastrand::Rng;
use underpass_core::{
    cluster::{Host, LoadBalancerContext},
    config::Value,
};

use super::{
    LoadBalancer, Policy, PrioritySet,
    subset::{Fallback, SubsetKey, SubsetOptions, Subsets, subset_key},
};
use crate::cluster::host_set::HostSet;

/// What all workers share: the hosts of a cluster at one moment, as they are picked from.
pub(crate) struct Candidates {
    /// All of them.
    pub hosts: PrioritySet,
    subsets: Option<Subsets>,
}

impl Candidates {
    /// Works out what picking needs; what `previous` has worked out for sets that stay is used again.
    pub(crate) fn new(sets: Vec<Arc<HostSet>>, policy: &Policy, previous: Option<&Self>) -> Self {
        let old = previous.and_then(|previous| previous.subsets.as_ref());
        let subsets = policy.subsets.as_ref().map(|options| Subsets::new(&sets, options, policy, old));
        Self { hosts: PrioritySet::new(sets, policy, previous.map(|previous| &previous.hosts)), subsets }
    }

    /// The names of the subsets.
    pub(crate) fn subset_keys(&self) -> impl Iterator<Item = &SubsetKey> {
        self.subsets.iter().flat_map(Subsets::keys)
    }

    /// Whether there is a subset of that name.
    pub(crate) fn has_subset(&self, key: &str) -> bool {
        self.subsets.as_ref().is_some_and(|subsets| subsets.get(key).is_some())
    }
}

/// Picks hosts on one worker; the state of all its turns.
pub(crate) struct Balancer {
    all: LoadBalancer,
    default_subset: LoadBalancer,
    subsets: RefCell<HashMap<SubsetKey, LoadBalancer>>,
}

impl Default for Balancer {
    /// A balancer of a worker, which starts anywhere.
    fn default() -> Self {
        Self {
            all: LoadBalancer::new(Rng::new()),
            default_subset: LoadBalancer::new(Rng::new()),
            subsets: RefCell::default(),
        }
    }
}

impl Balancer {
    /// Picks a host for a stream.
    pub(crate) fn choose(
        &self,
        policy: &Policy,
        from: &Candidates,
        context: &LoadBalancerContext<'_>,
    ) -> Option<Arc<Host>> {
        match (&policy.subsets, &from.subsets) {
            (Some(options), Some(subsets)) => {
                let ask =
                    Ask { balancer: self, policy, all: &from.hosts, subsets, options, hash: context.hash };
                ask.choose(context.metadata_match)
            }
            _ => self.all.choose(policy, &from.hosts, context.hash),
        }
    }

    /// Forgets the turns of subsets that are gone.
    pub(crate) fn prune(&self, present: &Candidates) {
        self.subsets.borrow_mut().retain(|key, _| present.has_subset(key));
    }
}

/// One question for a host of a cluster with subsets.
struct Ask<'a> {
    balancer: &'a Balancer,
    policy: &'a Policy,
    all: &'a PrioritySet,
    subsets: &'a Subsets,
    options: &'a SubsetOptions,
    hash: Option<u64>,
}

impl Ask<'_> {
    fn choose(&self, wanted: Option<&BTreeMap<String, Value>>) -> Option<Arc<Host>> {
        let stats = &self.policy.stats;
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
            let key = subset_key(wanted);
            if let Some(hosts) = self.subsets.get(&key) {
                stats.lb_subsets_selected.inc();
                return self.choose_in_subset(key, hosts);
            }
            let selector = self.options.selector(&wanted.keys().cloned().collect());
            if let Some(fallback) = selector.and_then(|selector| selector.fallback.as_ref()) {
                return self.fall_back_of_selector(fallback, wanted);
            }
        }
        let host = self.fall_back(&self.options.fallback);
        if host.is_some() {
            stats.lb_subsets_fallback.inc();
            return host;
        }
        // In Envoy too there is no panic without a fallback policy.
        let panic = self.options.panic_mode_any && self.options.fallback != Fallback::Nobody;
        let host = panic.then(|| self.fall_back(&Fallback::Any)).flatten();
        if host.is_some() {
            stats.lb_subsets_fallback_panic.inc();
        }
        host
    }

    fn choose_in_subset(&self, key: SubsetKey, hosts: &PrioritySet) -> Option<Arc<Host>> {
        let mut subsets = self.balancer.subsets.borrow_mut();
        let balancer = subsets.entry(key).or_insert_with(|| LoadBalancer::new(Rng::new()));
        balancer.choose(self.policy, hosts, self.hash)
    }

    fn fall_back_of_selector(
        &self,
        fallback: &Fallback,
        wanted: &BTreeMap<String, Value>,
    ) -> Option<Arc<Host>> {
        match fallback {
            Fallback::Keys(fewer) => {
                let wanted = wanted.iter().filter(|(key, _)| fewer.contains(*key));
                let wanted: BTreeMap<_, _> =
                    wanted.map(|(key, value)| (key.clone(), value.clone())).collect();
                // There are fewer keys each time, so this ends.
                self.choose(Some(&wanted))
            }
            other => self.fall_back(other),
        }
    }

    fn fall_back(&self, fallback: &Fallback) -> Option<Arc<Host>> {
        match fallback {
            Fallback::Any => self.balancer.all.choose(self.policy, self.all, self.hash),
            Fallback::DefaultSubset => {
                let hosts = &self.subsets.default;
                if hosts.is_empty() {
                    None
                } else {
                    self.balancer.default_subset.choose(self.policy, hosts, self.hash)
                }
            }
            Fallback::Nobody | Fallback::Keys(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
