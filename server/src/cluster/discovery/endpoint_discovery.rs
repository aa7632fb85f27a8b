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
        Box::pin(async move {
            let scope = cluster.info.scope.clone();
            let watcher: Arc<dyn ConfigWatcher> = Arc::new(Endpoints {
                service_name: Arc::clone(&self.service_name),
                server: Arc::clone(&self.server),
                cluster,
                first: Mutex::new(first),
            });
            let request = SubscriptionRequest {
                source: &self.source,
                type_name: ASSIGNMENT,
                names: vec![Arc::clone(&self.service_name)],
                stats: SubscriptionStats::new(&scope),
                watcher: Arc::downgrade(&watcher),
            };
            let _subscription = config_subscription::subscribe(request, &self.server);
            // Both live as long as this version of the cluster.
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
}

impl Endpoints {
    fn assign(&self, resource: &ConfigResource) -> Result<(), String> {
        let read = self.server.resources.read::<ClusterLoadAssignment>(
            resource,
            ASSIGNMENT,
            &self.server.extensions,
        );
        let assignment = Some(read.map_err(|report| report.to_string())?);
        let hosts = endpoint::hosts(assignment.as_ref(), &resource.path);
        let hosts = hosts.map_err(|error| resource.explain(&error))?;
        if !self.cluster.assign(hosts, endpoint::assignment_policy(assignment.as_ref())) {
            self.cluster.stats.discovery.update_no_rebuild.inc();
        }
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
}
