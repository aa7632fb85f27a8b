//! A cluster on one worker: picks hosts and opens connections.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::{Rc, Weak},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use underpass_core::{
    cluster::{
        Cluster, ClusterInfo, Host, HostId, LoadBalancerContext, PoolFailure, PoolFailureReason, Thresholds,
        UpstreamConnection,
    },
    connection::BoxFuture,
    worker::Worker,
};

use super::{
    connect::{Connector, Failure, Opened},
    host_pool::{HostPool, PoolPlace},
    lease::{Lease, Pending},
    load_balancer::{Balancer, Candidates},
    shared::SharedCluster,
};
use crate::client_connection::Factories;

/// One version of a cluster on one worker.
pub(super) struct WorkerCluster {
    shared: Arc<SharedCluster>,
    worker: Weak<Worker>,
    factories: Arc<Factories>,
    balancer: Rc<Balancer>,
    /// The hosts as they were when this worker looked last.
    candidates: RefCell<Arc<Candidates>>,
    /// Their generation, or an earlier one.
    generation: Cell<u64>,
    pools: RefCell<FxHashMap<HostId, Rc<HostPool>>>,
}

impl WorkerCluster {
    /// A version of a cluster. Turns go on where `previous` is, if they still mean the same.
    pub(super) fn new(
        shared: Arc<SharedCluster>,
        worker: &Weak<Worker>,
        factories: &Arc<Factories>,
        previous: Option<&Self>,
    ) -> Self {
        let previous = previous.filter(|old| old.shared.policy.kind.same_state(&shared.policy.kind));
        let balancer = previous.map_or_else(Rc::default, |old| Rc::clone(&old.balancer));
        let generation = Cell::new(shared.membership.generation());
        let candidates = RefCell::new(Arc::clone(&shared.membership.candidates()));
        let (worker, factories) = (Weak::clone(worker), Arc::clone(factories));
        Self { shared, worker, factories, balancer, candidates, generation, pools: RefCell::default() }
    }

    /// Lets go of what was kept for hosts that are gone.
    pub(super) fn follow_hosts(&self) {
        let generation = self.shared.membership.generation();
        if self.generation.replace(generation) == generation {
            return;
        }
        let present = self.shared.membership.candidates();
        if Arc::ptr_eq(&self.candidates.borrow(), &present) {
            return;
        }
        let old = self.candidates.replace(Arc::clone(&present));
        if self.shared.drains_on_change && host_ids(&old) != host_ids(&present) {
            self.forget(&old, &HashSet::new());
        } else {
            let mut stay = host_ids(&present);
            if let Some(original_dst) = &self.shared.original_dst {
                // Hosts are in use here before they are published.
                original_dst.add_ids(&mut stay);
            }
            self.forget(&old, &stay);
        }
        self.balancer.prune(&present);
    }

    /// Ends this version: what was kept for hosts goes, unless `next` has them too.
    pub(super) fn retire(&self, next: Option<&Self>) {
        let stay = next.map(|next| host_ids(&next.candidates.borrow())).unwrap_or_default();
        self.forget(&self.candidates.borrow(), &stay);
    }

    /// Lets go of what is kept for all hosts but those that stay.
    fn forget(&self, old: &Candidates, stay: &HashSet<HostId>) {
        let mut known = host_ids(old);
        known.extend(self.pools.borrow().keys());
        let worker = self.worker.upgrade();
        for gone in known.difference(stay) {
            self.pools.borrow_mut().remove(gone);
            if let Some(worker) = &worker {
                worker.forget_host(*gone);
            }
        }
    }

    fn pool(&self, host: &Host) -> Rc<HostPool> {
        Rc::clone(self.pools.borrow_mut().entry(host.id).or_default())
    }

    fn thresholds(&self, context: &LoadBalancerContext<'_>) -> &Thresholds {
        self.shared.info.circuit_breakers.of(context.high_priority)
    }

    /// Waits until there may be another connection to a host, which there may not be now. A worker that has none to it may always
    /// open one, since nothing of its own could end that would make room (Envoy, `ConnPoolImplBase::tryCreateNewConnection`).
    async fn place_for_stream(&self, host: &Host, limits: &Thresholds) -> PoolPlace {
        let pool = self.pool(host);
        let mut refused = false;
        while !has_room(host, limits) {
            if !refused {
                self.shared.info.stats.upstream_cx_overflow.inc();
                refused = true;
            }
            if pool.is_empty() {
                break;
            }
            pool.freed().await;
        }
        pool.enter()
    }

    /// What opens a connection to a host.
    fn connector<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        host: &'a Arc<Host>,
        context: &LoadBalancerContext<'a>,
    ) -> Connector<'a> {
        let (factories, cluster) = (&*self.factories, &self.shared.info);
        Connector { worker, factories, cluster, host, downstream: context.downstream, reads_at_once: false }
    }

    /// Counts what became of opening a connection.
    fn connected(
        &self,
        host: Arc<Host>,
        outcome: Result<Opened, Failure>,
        lease: Box<Lease>,
    ) -> Result<UpstreamConnection, PoolFailure> {
        match outcome {
            Ok(Opened { io, local_address, remote_address, connection_id }) => {
                lease.connected();
                let cluster = Arc::clone(&self.shared.info);
                Ok(UpstreamConnection {
                    io,
                    host,
                    cluster,
                    local_address,
                    remote_address,
                    connection_id,
                    lease,
                })
            }
            Err(failure) => {
                lease.failed(failure.closed_by());
                Err(failure.on(&host))
            }
        }
    }
}

fn host_ids(candidates: &Candidates) -> HashSet<HostId> {
    let hosts = candidates.hosts.sets.iter().flat_map(|set| set.hosts.all.iter());
    hosts.map(|host| host.id).collect()
}

/// Whether neither the cluster nor the host has as many connections as it may have.
fn has_room(host: &Host, limits: &Thresholds) -> bool {
    let active = host.stats.cx_active.load(std::sync::atomic::Ordering::Relaxed);
    active < limits.limits.connections_per_host && limits.connections.has_room()
}

impl Cluster for WorkerCluster {
    fn info(&self) -> &Arc<ClusterInfo> {
        &self.shared.info
    }

    fn choose_host(&self, context: &LoadBalancerContext<'_>) -> Option<Arc<Host>> {
        self.follow_hosts();
        let host = match &self.shared.original_dst {
            Some(original_dst) => original_dst.host(&self.shared, context),
            None => self.balancer.choose(&self.shared.policy, &self.candidates.borrow(), context),
        };
        if host.is_none() {
            self.shared.info.stats.upstream_cx_none_healthy.inc();
        }
        host
    }

    fn may_open(&self, host: &Host, high_priority: bool) -> bool {
        let may = has_room(host, self.shared.info.circuit_breakers.of(high_priority));
        if !may {
            self.shared.info.stats.upstream_cx_overflow.inc();
        }
        may
    }

    fn open<'a>(
        &'a self,
        host: &'a Arc<Host>,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        Box::pin(async move {
            let pool = self.pool(host);
            let lease = Box::new(Lease::new(&self.shared.info, host, pool.enter(), context.high_priority));
            let outcome = match self.worker.upgrade() {
                Some(worker) => self.connector(&worker, host, context).connect().await,
                None => Err(Failure::NoWorker),
            };
            self.connected(Arc::clone(host), outcome, lease)
        })
    }

    fn open_tcp<'a>(
        &'a self,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        Box::pin(async move {
            let info = &self.shared.info;
            let limits = self.thresholds(context);
            if !limits.connections.has_room() {
                info.stats.upstream_cx_overflow.inc();
                return Err(failure(PoolFailureReason::ConnectionOverflow, None));
            }
            let Some(host) = self.choose_host(context) else {
                return Err(failure(PoolFailureReason::NoHealthyHost, None));
            };
            if !limits.pending_requests.has_room() {
                info.stats.upstream_rq_pending_overflow.inc();
                return Err(failure(PoolFailureReason::PendingOverflow, None));
            }
            let pending = Pending::new(info, &host, context.high_priority);
            let place = if has_room(&host, limits) {
                self.pool(&host).enter()
            } else {
                Box::pin(self.place_for_stream(&host, limits)).await
            };
            let mut lease = Box::new(Lease::new(info, &host, place, context.high_priority));
            let outcome = match self.worker.upgrade() {
                Some(worker) => {
                    // What is opened here is relayed.
                    let connector = self.connector(&worker, &host, context);
                    Connector { reads_at_once: true, ..connector }.connect().await
                }
                None => Err(Failure::NoWorker),
            };
            if outcome.is_ok() {
                pending.ready();
                lease.begin_request();
            } else {
                pending.failed();
            }
            self.connected(host, outcome, lease)
        })
    }
}

fn failure(reason: PoolFailureReason, host: Option<&Arc<Host>>) -> PoolFailure {
    PoolFailure { reason, transport_failure_reason: None, host: host.cloned() }
}

#[cfg(test)]
mod tests;
