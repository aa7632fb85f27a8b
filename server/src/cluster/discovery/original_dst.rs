//! `ORIGINAL_DST`: each connection goes where it was meant to go before it was redirected here, so hosts come with the
//! connections that want them and go when nobody wants them any more.
//!
//! A worker that meets a new destination makes a host of it and uses it at once; the main thread then shows it to
//! everybody else. <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery#original-destination>

mod destination;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, interval_at},
};
use underpass_core::{
    build_context::BuildError,
    cluster::{Host, HostId, LoadBalancerContext},
    config::ConfigPath,
};

use self::destination::Destination;
use super::{Discovery, DiscoveryFuture, FirstAnswer};
use crate::{
    cluster::shared::SharedCluster,
    config::{
        cluster::{Cluster, DiscoveryType},
        load_balancing::LbPolicy,
    },
};

/// The destinations of a cluster.
pub(crate) struct OriginalDst {
    destination: Destination,
    cleanup_interval: Duration,
    hosts: RwLock<HashMap<SocketAddr, Known>>,
    /// Told when there is a host that is not published.
    came: Notify,
}

/// The host of one destination.
struct Known {
    host: Arc<Host>,
    /// Whether it was picked since the last clean-up.
    used: AtomicBool,
}

impl OriginalDst {
    /// The destinations of a cluster, if it is of this type. What Envoy refuses is refused in its words.
    pub(crate) fn new(config: &Cluster, path: &ConfigPath) -> Result<Option<Self>, BuildError> {
        let provided = config.lb_policy == LbPolicy::ClusterProvided;
        let refused = |field: &str, message: String| Err(BuildError::at(path.field(field), message));
        if config.discovery_type != DiscoveryType::OriginalDst {
            if !provided {
                return Ok(None);
            }
            let message = format!(
                "cluster manager: cluster provided LB specified but cluster '{}' did not provide one. Check cluster \
                 documentation.",
                config.name
            );
            return refused("lb_policy", message);
        }
        if !provided {
            let message = format!(
                "LB policy {} is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed with cluster \
                 type 'ORIGINAL_DST'",
                config.lb_policy.name()
            );
            return refused("lb_policy", message);
        }
        if !config.lb_subset_config.subset_selectors.is_empty() {
            let message = "LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config";
            return refused("lb_subset_config", message.to_owned());
        }
        if config.load_assignment.is_some() {
            let message = "ORIGINAL_DST clusters must have no load assignment configured";
            return refused("load_assignment", message.to_owned());
        }
        let options = config.original_dst_lb_config.clone().unwrap_or_default();
        Ok(Some(Self {
            destination: Destination::new(&options, &path.field("original_dst_lb_config"))?,
            cleanup_interval: config.cleanup_interval_or_default(),
            hosts: RwLock::default(),
            came: Notify::new(),
        }))
    }

    /// The host where a stream was meant to go, if it is known where that is.
    pub(crate) fn host(
        &self,
        cluster: &SharedCluster,
        context: &LoadBalancerContext<'_>,
    ) -> Option<Arc<Host>> {
        let Some(address) = self.destination.find(context, &cluster.info.stats.original_dst_host_invalid)
        else {
            tracing::debug!(target: "upstream", "original_dst: {} has no destination for a stream", cluster.info.name);
            return None;
        };
        if let Some(known) = self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(&address) {
            return Some(known.pick());
        }
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.entry(address).or_insert_with(|| {
            tracing::debug!(target: "upstream", "original_dst: adding host {address} to {}", cluster.info.name);
            cluster.count_matches(1);
            self.came.notify_one();
            let hostname = format!("{}{address}", cluster.info.name);
            let host = cluster.membership.new_host(address.into(), hostname.into());
            Known { host, used: AtomicBool::new(true) }
        });
        Some(known.pick())
    }

    /// The hosts there are, published or not.
    pub(crate) fn add_ids(&self, to: &mut HashSet<HostId>) {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        to.extend(hosts.values().map(|known| known.host.id));
    }

    /// Lets hosts go that were not picked since the last time and have no connections.
    fn clean_up(&self) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, known| known.used.swap(false, Ordering::Relaxed) || known.is_busy());
    }

    fn publish(&self, cluster: &SharedCluster) {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        let mut hosts: Vec<_> = hosts.values().map(|known| Arc::clone(&known.host)).collect();
        hosts.sort_by_key(|host| host.id);
        cluster.publish_hosts(hosts);
    }
}

impl Known {
    fn pick(&self) -> Arc<Host> {
        self.used.store(true, Ordering::Relaxed);
        Arc::clone(&self.host)
    }

    fn is_busy(&self) -> bool {
        let stats = &self.host.stats;
        [&stats.cx_active, &stats.rq_active, &stats.rq_pending_active]
            .iter()
            .any(|count| count.load(Ordering::Relaxed) > 0)
    }
}

impl Discovery for OriginalDst {
    fn run(self: Arc<Self>, cluster: Arc<SharedCluster>, mut first: FirstAnswer) -> DiscoveryFuture {
        Box::pin(async move {
            first.tell();
            let start = Instant::now() + self.cleanup_interval;
            let mut interval = interval_at(start, self.cleanup_interval);
            loop {
                tokio::select! {
                    () = self.came.notified() => {}
                    _ = interval.tick() => self.clean_up(),
                }
                self.publish(&cluster);
            }
        })
    }
}

#[cfg(test)]
mod tests;
