//! `LOGICAL_DNS`: one name is one host, connected to at the first address of the latest answer.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery#logical-dns>

use std::sync::Arc;

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

/// What Envoy says of a cluster of more or fewer names than one.
pub(crate) const ONE_ENDPOINT: &str =
    "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint";

/// The name of a cluster.
pub(crate) struct LogicalDns {
    lookup: Arc<dyn Lookup>,
    family: DnsLookupFamily,
    refresh: Refresh,
    target: ResolveTarget,
    /// Its place, without hosts.
    place: PlaceSpec,
}

impl LogicalDns {
    /// Resolves the one target by the rules of `refresh`; `None` if there are more or fewer.
    pub(crate) fn new(
        lookup: Arc<dyn Lookup>,
        family: DnsLookupFamily,
        refresh: Refresh,
        targets: ResolveTargets,
    ) -> Option<Self> {
        let mut places = targets.places.into_iter().flatten();
        let (Ok([target]), Some(place), None) =
            (<[ResolveTarget; 1]>::try_from(targets.targets), places.next(), places.next())
        else {
            return None;
        };
        Some(Self { lookup, family, refresh, target, place })
    }

    /// Makes the answer the address of the host. Returns whether that changed anything.
    ///
    /// The address is what connections are made to, so Envoy 1.40 takes a new one for a new host.
    fn accept(&self, answer: &Resolved, cluster: &SharedCluster) -> bool {
        let mut addresses =
            answer.addresses.iter().map(|address| Address::Socket((*address, self.target.port).into()));
        let hosts = addresses.next().map(|address| HostSpec {
            address,
            additional_addresses: addresses.collect(),
            attributes: self.target.attributes.clone(),
        });
        cluster.count_matches(usize::from(hosts.is_some()));
        let place = PlaceSpec { hosts: hosts.into_iter().collect(), ..self.place.clone() };
        cluster.assign_priority(self.target.priority, vec![place])
    }
}

impl Discovery for LogicalDns {
    fn run(self: Arc<Self>, cluster: Arc<SharedCluster>, mut first: FirstAnswer) -> DiscoveryFuture {
        Box::pin(async move {
            let stats = &cluster.stats.discovery;
            let mut failures = Failures::default();
            loop {
                stats.update_attempt.inc();
                let answer = resolve(&*self.lookup, &self.target.name, self.family).await;
                let wait = match answer {
                    Ok(answer) if !answer.addresses.is_empty() => {
                        stats.update_success.inc();
                        if !self.accept(&answer, &cluster) {
                            stats.update_no_rebuild.inc();
                        }
                        self.refresh.after_answer(answer.ttl, &mut failures)
                    }
                    // The host stays where it was; here even "no such name" is a failure.
                    _ => {
                        stats.update_failure.inc();
                        tracing::debug!(target: "upstream", "DNS resolution failed for {}", self.target.name);
                        self.refresh.after_failure(&mut failures)
                    }
                };
                first.tell();
                tokio::time::sleep(wait).await;
            }
        })
    }
}
