//! The cluster discovery service (CDS): clusters that a source adds, changes and removes.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use underpass_core::{
    config::ConfigSource,
    config_subscription::{
        self, ConfigResource, ConfigUpdate, ConfigWatcher, FetchFailure, Gone, ReloadStats, Subscription,
        SubscriptionRequest, SubscriptionStats,
    },
    init::InitTarget,
    server::ServerContext,
};

use super::Failures;
use crate::{
    cluster_manager::{ClusterConfig, ClusterManager},
    config::{cluster::Cluster, deprecated_http_options::upgrade_cluster},
};

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

/// Follows a source of clusters.
pub(crate) struct ClusterDiscovery {
    server: Arc<ServerContext>,
    clusters: Arc<ClusterManager>,
    reloads: ReloadStats,
    /// What the start of the process waits for: the first answer, and the first hosts of its clusters.
    first: Mutex<Option<InitTarget>>,
    subscription: OnceLock<Box<dyn Subscription>>,
}

impl ClusterDiscovery {
    /// Subscribes. To be called on the main thread, in its runtime.
    pub(crate) fn start(
        source: &ConfigSource,
        server: &Arc<ServerContext>,
        clusters: &Arc<ClusterManager>,
    ) -> Arc<Self> {
        let scope = server.stats.scope("cluster_manager.cds");
        let discovery = Arc::new(Self {
            server: Arc::clone(server),
            clusters: Arc::clone(clusters),
            reloads: ReloadStats::new(&scope),
            first: Mutex::new(Some(clusters.init_target("CDS"))),
            subscription: OnceLock::new(),
        });
        let watcher: Arc<dyn ConfigWatcher> = Arc::clone(&discovery) as _;
        let request = SubscriptionRequest {
            source,
            type_name: CLUSTER,
            names: Vec::new(),
            stats: SubscriptionStats::new(&scope),
            watcher: Arc::downgrade(&watcher),
        };
        let subscription = config_subscription::subscribe(request, server);
        // There is none yet: this is the only place that sets it.
        let _ = discovery.subscription.set(subscription);
        discovery
    }

    fn gone(&self, update: &ConfigUpdate) -> Vec<Arc<str>> {
        match &update.gone {
            Gone::Named(names) => names.clone(),
            Gone::Rest => {
                let named: HashSet<&str> = update.resources.iter().map(|resource| &*resource.name).collect();
                let present = self.clusters.names_from_api();
                present.into_iter().filter(|name| !named.contains(&**name)).collect()
            }
        }
    }

    /// Adds or updates a cluster. Returns whether it changed.
    fn take_over(&self, resource: &ConfigResource) -> Result<bool, String> {
        let resource = ConfigResource { node: upgrade_cluster(&resource.node), ..resource.clone() };
        let read = self.server.resources.read::<Cluster>(&resource, CLUSTER, &self.server.extensions);
        let message = read.map_err(|report| report.to_string())?;
        let warnings = RefCell::default();
        let config = ClusterConfig {
            message: &message,
            node: Arc::clone(&resource.node),
            path: resource.path.clone(),
            version: Some(&*resource.version),
        };
        let changed = self.clusters.add_or_update(&config, &warnings);
        resource.warn(warnings.take());
        changed.map_err(|error| resource.explain(&error))
    }

    fn answered(&self) {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(first) = first {
            self.clusters.hold_until_warm(first);
        }
    }
}

impl ConfigWatcher for ClusterDiscovery {
    fn update(&self, update: &ConfigUpdate) -> Result<(), String> {
        let gone = self.gone(update);
        tracing::info!(
            target: "upstream",
            "cds: response indicates {} added/updated cluster(s), {} removed cluster(s); applying changes",
            update.resources.len(),
            gone.len()
        );
        let (mut failures, mut named) = (Failures::default(), HashSet::new());
        let (mut changed, mut skipped) = (0, 0);
        for resource in &update.resources {
            let name = &*resource.name;
            let outcome = if named.insert(name) {
                self.take_over(resource)
            } else {
                Err(format!("duplicate cluster {name} found"))
            };
            match outcome {
                Ok(true) => {
                    changed += 1;
                    tracing::debug!(target: "upstream", "cds: add/update cluster '{name}'");
                }
                Ok(false) => skipped += 1,
                Err(why) => {
                    tracing::warn!(target: "upstream", "cds: cluster '{name}' config rejected: {why}");
                    failures.add(name, why);
                }
            }
        }
        let removed = gone.iter().filter(|name| self.clusters.remove(name)).count();
        tracing::info!(
            target: "upstream",
            "cds: added/updated {changed} cluster(s) (skipped {skipped} unmodified cluster(s)); removed {removed} cluster(s)"
        );
        if changed + removed > 0 || failures.0.is_empty() {
            self.clusters.set_version(&update.version);
        }
        // As in Envoy, neither removals nor an update that is refused in part count.
        if changed > 0 && failures.0.is_empty() {
            self.reloads.reloaded();
        }
        self.answered();
        failures.conclude("Error adding/updating cluster(s)")
    }

    fn failed(&self, _: FetchFailure) {
        self.answered();
    }
}
