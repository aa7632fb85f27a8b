//! The listener discovery service (LDS): listeners that a source adds, changes and removes.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use underpass_core::{
    build_context::BuildError,
    config::ConfigSource,
    config_subscription::{
        self, ConfigResource, ConfigUpdate, ConfigWatcher, FetchFailure, Gone, Subscription,
        SubscriptionRequest, SubscriptionStats,
    },
    init::InitTarget,
    server::ServerContext,
};

use super::Failures;
use crate::{
    cluster_manager::ClusterManager,
    config::listener::Listener,
    cross_checks,
    listener_manager::{Change, ListenerConfig, ListenerManager, Source},
};

const LISTENER: &str = "envoy.config.listener.v3.Listener";

/// Follows a source of listeners.
pub(crate) struct ListenerDiscovery {
    server: Arc<ServerContext>,
    listeners: Arc<ListenerManager>,
    clusters: Arc<ClusterManager>,
    /// What the start of the process waits for: the first answer.
    first: Mutex<Option<InitTarget>>,
    subscription: OnceLock<Box<dyn Subscription>>,
}

impl ListenerDiscovery {
    /// Subscribes. To be called on the main thread, in its runtime; the process waits for the first answer.
    pub(crate) fn start(
        source: &ConfigSource,
        server: &Arc<ServerContext>,
        listeners: &Arc<ListenerManager>,
        clusters: &Arc<ClusterManager>,
    ) -> Arc<Self> {
        let discovery = Arc::new(Self {
            server: Arc::clone(server),
            listeners: Arc::clone(listeners),
            clusters: Arc::clone(clusters),
            first: Mutex::new(Some(server.init.add("LDS"))),
            subscription: OnceLock::new(),
        });
        let watcher: Arc<dyn ConfigWatcher> = Arc::clone(&discovery) as _;
        let request = SubscriptionRequest {
            source,
            type_name: LISTENER,
            names: Vec::new(),
            stats: SubscriptionStats::new(&server.stats.scope("listener_manager.lds")),
            watcher: Arc::downgrade(&watcher),
        };
        let subscription = config_subscription::subscribe(request, server);
        // There is none yet: this is the only place that sets it.
        let _ = discovery.subscription.set(subscription);
        discovery
    }

    fn remove_gone(&self, update: &ConfigUpdate) {
        let gone: Vec<Arc<str>> = match &update.gone {
            Gone::Named(names) => names.clone(),
            Gone::Rest => {
                let named: HashSet<&str> = update.resources.iter().map(|resource| &*resource.name).collect();
                let present = self.listeners.names_from_api();
                present.into_iter().filter(|name| !named.contains(&**name)).collect()
            }
        };
        for name in gone {
            if self.listeners.remove(&name) {
                tracing::info!(target: "upstream", "lds: remove listener '{name}'");
            }
        }
    }

    /// Adds or updates a listener. Returns whether it changed.
    fn take_over(&self, resource: &ConfigResource) -> Result<bool, String> {
        let read = self.server.resources.read::<Listener>(resource, LISTENER, &self.server.extensions);
        let message = read.map_err(|report| report.to_string())?;
        self.check_clusters(&message, resource)?;
        let warnings = RefCell::default();
        let config = ListenerConfig {
            message: &message,
            node: Arc::clone(&resource.node),
            path: resource.path.clone(),
            source: Source::Api { version_info: resource.version.to_string() },
        };
        let change = self.listeners.add_or_update(&config, &warnings);
        resource.warn(warnings.take());
        change.map(|change| change != Change::Ignored).map_err(|error| resource.explain(&error))
    }

    /// A route of the listener's own to a cluster that is not there is refused, as in Envoy.
    fn check_clusters(&self, message: &Listener, resource: &ConfigResource) -> Result<(), String> {
        let unmet: Vec<_> = cross_checks::required_clusters(message, &resource.path)
            .into_iter()
            .filter(|(cluster, _, _)| !self.clusters.has(cluster))
            .map(|(_, path, refusal)| resource.explain(&BuildError::at(path, refusal)))
            .collect();
        if unmet.is_empty() { Ok(()) } else { Err(unmet.join("\n")) }
    }

    fn answered(&self) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl ConfigWatcher for ListenerDiscovery {
    fn update(&self, update: &ConfigUpdate) -> Result<(), String> {
        let batch = self.listeners.batch();
        self.remove_gone(update);
        let (mut failures, mut named, mut any) = (Failures::default(), HashSet::new(), false);
        for resource in &update.resources {
            let name = &*resource.name;
            let outcome = if named.insert(name) {
                self.take_over(resource)
            } else {
                Err(format!("duplicate listener {name} found"))
            };
            match outcome {
                Ok(true) => {
                    any = true;
                    tracing::info!(target: "upstream", "lds: add/update listener '{name}'");
                }
                Ok(false) => tracing::debug!(target: "upstream", "lds: add/update listener '{name}' skipped"),
                Err(why) => {
                    tracing::warn!(target: "upstream", "lds: listener '{name}' config rejected: {why}");
                    self.listeners.note_failure(name, &resource.node, why.clone());
                    failures.add(name, why);
                }
            }
        }
        if any || failures.0.is_empty() {
            self.listeners.set_version(&update.version);
        }
        drop(batch);
        self.answered();
        failures.conclude("Error adding/updating listener(s)")
    }

    fn failed(&self, _: FetchFailure) {
        self.answered();
    }
}
