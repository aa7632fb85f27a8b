//! `STRICT_DNS`: each name stands for all its addresses, each of which is a host.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery#strict-dns>

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use underpass_core::address::Address;

use super::{Discovery, DiscoveryFuture, FirstAnswer, Refresh, refresh::Failures};
use crate::{
    cluster::{
        dns::{Lookup, Resolved, resolve},
        endpoint::{ResolveTarget, ResolveTargets},
        membership::{HostSpec, PlaceSpec},
        shared::SharedCluster,
    },
    config::dns::DnsLookupFamily,
};

/// The names of a cluster.
pub(crate) struct StrictDns {
    lookup: Arc<dyn Lookup>,
    family: DnsLookupFamily,
    refresh: Refresh,
    targets: Vec<ResolveTarget>,
    /// By priority, without hosts.
    places: Vec<Vec<PlaceSpec>>,
    /// The last good answer for each name.
    answers: Mutex<Vec<Vec<HostSpec>>>,
}

impl StrictDns {
    /// Resolves `targets` by the rules of `refresh`.
    pub(crate) fn new(
        lookup: Arc<dyn Lookup>,
        family: DnsLookupFamily,
        refresh: Refresh,
        targets: ResolveTargets,
    ) -> Self {
        let ResolveTargets { targets, places } = targets;
        let answers = Mutex::new(vec![Vec::new(); targets.len()]);
        Self { lookup, family, refresh, targets, places, answers }
    }

    async fn follow(&self, index: usize, cluster: &SharedCluster, first: &Mutex<FirstAnswer>) {
        let target = &self.targets[index];
        let stats = &cluster.stats.discovery;
        let mut failures = Failures::default();
        loop {
            stats.update_attempt.inc();
            let wait = match resolve(&*self.lookup, &target.name, self.family).await {
                Ok(answer) => {
                    stats.update_success.inc();
                    if !self.accept(index, &answer, cluster) {
                        stats.update_no_rebuild.inc();
                    }
                    self.refresh.after_answer(answer.ttl, &mut failures)
                }
                Err(error) => {
                    stats.update_failure.inc();
                    tracing::debug!(target: "upstream", "DNS resolution failed for {}: {error}", target.name);
                    self.refresh.after_failure(&mut failures)
                }
            };
            first.lock().unwrap_or_else(PoisonError::into_inner).tell();
            tokio::time::sleep(wait).await;
        }
    }

    /// Puts the answer for a name into its priority. Returns whether that changed anything.
    fn accept(&self, index: usize, answer: &Resolved, cluster: &SharedCluster) -> bool {
        let target = &self.targets[index];
        let mut seen = BTreeSet::new();
        let fresh = answer.addresses.iter().filter(|address| seen.insert(**address));
        let hosts = fresh.map(|address| HostSpec {
            address: Address::Socket((*address, target.port).into()),
            additional_addresses: Vec::new(),
            attributes: target.attributes.clone(),
        });
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers[index] = hosts.collect();
        cluster.count_matches(answers[index].len());
        cluster.stats.endpoints.max_host_weight.set(max_weight(&answers));
        cluster.assign_priority(target.priority, self.places_of(target.priority, &answers))
    }

    fn places_of(&self, priority: usize, answers: &[Vec<HostSpec>]) -> Vec<PlaceSpec> {
        let mut places = self.places[priority].clone();
        for (target, hosts) in
            self.targets.iter().zip(answers).filter(|(target, _)| target.priority == priority)
        {
            places[target.place].hosts.extend(hosts.iter().cloned());
        }
        places
    }
}

fn max_weight(answers: &[Vec<HostSpec>]) -> u64 {
    answers.iter().flatten().map(|host| u64::from(host.attributes.weight)).max().unwrap_or(1)
}

impl Discovery for StrictDns {
    fn run(self: Arc<Self>, cluster: Arc<SharedCluster>, mut first: FirstAnswer) -> DiscoveryFuture {
        Box::pin(async move {
            if self.targets.is_empty() {
                return first.tell();
            }
            // As in Envoy, the first answer for any of the names is enough to start with.
            let first = Mutex::new(first);
            let each = (0..self.targets.len()).map(|index| self.follow(index, &cluster, &first));
            futures_util::future::join_all(each).await;
        })
    }
}
