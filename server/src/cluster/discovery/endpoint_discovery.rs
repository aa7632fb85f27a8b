//! `EDS`: a file or a control plane names the endpoints.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery#endpoint-discovery-service-eds>

use std::sync::{Arc, Mutex, PoisonError};

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, ConfigSource},
    config_subscription::{
        self, ConfigResource, ConfigUpdate, ConfigWatcher, FetchFailure, SubscriptionRequest,
        SubscriptionStats,
    },
    server::ServerContext,
};

use super::{Discovery, DiscoveryFuture, FirstAnswer};
use crate::{
    cluster::{endpoint, shared::SharedCluster},
    config::{cluster::Cluster, endpoint::ClusterLoadAssignment},
};

const ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";

/// Where the endpoints of a cluster come from.
pub(crate) struct EndpointDiscovery {
    source: ConfigSource,
    service_name: Arc<str>,
    server: Arc<ServerContext>,
}

impl EndpointDiscovery {
    /// For the cluster that stands at `path`.
    pub(crate) fn new(
        config: &Cluster,
        path: &ConfigPath,
        server: &Arc<ServerContext>,
    ) -> Result<Self, BuildError> {
        let path = path.field("eds_cluster_config");
        let Some(source) = &config.eds_cluster_config.eds_config else {
            return Err(BuildError::at(path, "cannot create an EDS cluster without an EDS config"));
        };
        config_subscription::check(source, &path.field("eds_config"), server)?;
        let service_name = config.eds_service_name().into();
        Ok(Self { source: source.clone(), service_name, server: Arc::clone(server) })
    }
}

impl Discovery for EndpointDiscovery {
    fn run(self: Arc<Self>, cluster: Arc<SharedCluster>, first: FirstAnswer) -> DiscoveryFuture {
        let scope = cluster.info.scope.clone();
        let watcher: Arc<dyn ConfigWatcher> = Arc::new(Endpoints {
            service_name: Arc::clone(&self.service_name),
            server: Arc::clone(&self.server),
            cluster,
            first: Mutex::new(first),
            taken: Mutex::default(),
        });
        let request = SubscriptionRequest {
            source: &self.source,
            type_name: ASSIGNMENT,
            names: vec![Arc::clone(&self.service_name)],
            stats: SubscriptionStats::new(&scope),
            watcher: Arc::downgrade(&watcher),
        };
        // At once, so that the endpoints of all clusters of an update are asked for together: a request of the state-of-the-world
        // protocol has every name in it.
        let subscription = config_subscription::subscribe(request, &self.server);
        Box::pin(async move {
            // Both live as long as this version of the cluster.
            let _held = (watcher, subscription);
            std::future::pending::<()>().await;
        })
    }
}

/// Makes hosts of what the source says.
struct Endpoints {
    service_name: Arc<str>,
    server: Arc<ServerContext>,
    cluster: Arc<SharedCluster>,
    first: Mutex<FirstAnswer>,
    /// What was taken over last.
    taken: Mutex<Option<Taken>>,
}

/// An assignment that was taken over.
#[derive(Clone, Copy)]
struct Taken {
    hash: u64,
    hosts: usize,
}

impl Endpoints {
    fn assign(&self, resource: &ConfigResource) -> Result<(), String> {
        let hash = resource.node.stable_hash();
        let taken = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Control planes that keep snapshots send the endpoints of all clusters when those of one change.
        if let Some(same) = taken.filter(|taken| taken.hash == hash) {
            self.cluster.count_matches(same.hosts);
            self.cluster.stats.discovery.update_no_rebuild.inc();
            return Ok(());
        }
        let read = self.server.resources.read::<ClusterLoadAssignment>(
            resource,
            ASSIGNMENT,
            &self.server.extensions,
        );
        let assignment = Some(read.map_err(|report| report.to_string())?);
        let hosts = endpoint::hosts(assignment.as_ref(), &resource.path);
        let hosts = hosts.map_err(|error| resource.explain(&error))?;
        let count = hosts.iter().flatten().map(|place| place.hosts.len()).sum();
        if !self.cluster.assign(hosts, endpoint::assignment_policy(assignment.as_ref())) {
            self.cluster.stats.discovery.update_no_rebuild.inc();
        }
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Taken { hash, hosts: count });
        Ok(())
    }

    fn answered(&self) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).tell();
    }
}

impl ConfigWatcher for Endpoints {
    fn update(&self, update: &ConfigUpdate) -> Result<(), String> {
        let outcome = update.only(&self.service_name, "EDS cluster").and_then(|found| {
            if let Some(resource) = found {
                return self.assign(resource);
            }
            self.cluster.stats.discovery.update_empty.inc();
            Ok(())
        });
        if let Err(why) = &outcome {
            tracing::warn!(target: "upstream", "eds: cluster '{}' config rejected: {why}", self.service_name);
        }
        self.answered();
        outcome
    }

    fn failed(&self, _: FetchFailure) {
        self.answered();
    }

    fn is_served(&self) -> bool {
        self.cluster.is_settled()
    }
}
