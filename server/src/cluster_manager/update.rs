//! Adding and changing clusters.

use std::{
    cell::RefCell,
    sync::{Arc, PoisonError},
};

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Node},
    config_subscription,
};

use super::{
    ClusterManager,
    managed::{Fingerprint, Managed},
};
use crate::{
    cluster::build::{Environment, Inheritance},
    config::cluster::Cluster,
};

/// A cluster as it is configured, and where that stands.
pub struct ClusterConfig<'a> {
    /// The message.
    pub message: &'a Cluster,
    /// The tree it was read from: for `/config_dump`, and to see whether anything changed.
    pub node: Arc<Node>,
    /// Where it stands: `static_resources.clusters[0]`.
    pub path: ConfigPath,
    /// The version that came with it; absent if it comes from the configuration file.
    pub version: Option<&'a str>,
}

impl ClusterManager {
    /// Adds a cluster, or changes the one of that name. Returns whether anything changed.
    ///
    /// A cluster of the configuration file cannot be changed by others, and nothing of the file may have the same name twice.
    ///
    /// A new version takes over the hosts that it names again if connections to them are made as before. If it has to find
    /// its hosts first, the version before serves meanwhile; but endpoints that are asked for in the same place under the same
    /// name are those that are known, and no control plane need send them again.
    pub fn add_or_update(
        self: &Arc<Self>,
        config: &ClusterConfig<'_>,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<bool, BuildError> {
        let name = &config.message.name;
        if config.version.is_none() && self.has(name) {
            let message = format!("cluster manager: duplicate cluster '{name}'");
            return Err(BuildError::at(config.path.field("name"), message));
        }
        self.change(config, warnings)
    }

    /// Does what [`add_or_update`](Self::add_or_update) says. The file may change what it has said before, and take over what
    /// came from others.
    pub(super) fn change(
        self: &Arc<Self>,
        config: &ClusterConfig<'_>,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<bool, BuildError> {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let ClusterConfig { message, node, path, version } = config;
        let fingerprint = Fingerprint::new(node);
        let present = self.lock().newest(&message.name).map(Managed::summary);
        if let Some(present) = &present {
            if !present.added_via_api && version.is_some() {
                return Ok(false);
            }
            if present.fingerprint == fingerprint {
                return Ok(present.added_via_api && version.is_none() && self.adopt(&message.name));
            }
            if present.fingerprint.differs_in_hosts_only(&fingerprint) && present.hosts_are_configured {
                Environment::reassign(message, path, &present.cluster)?;
                let mut state = self.lock();
                if let Some(managed) = state.active.get_mut(message.name.as_str()) {
                    managed.renew(node, fingerprint, *version);
                }
                self.stats.cluster_modified.inc();
                return Ok(true);
            }
        }
        let inheritance = Inheritance {
            previous: present.as_ref().map(|present| &*present.cluster),
            keeps_hosts: present
                .as_ref()
                .is_some_and(|present| present.fingerprint.connects_alike(&fingerprint)),
        };
        // As in Envoy, what comes to nothing counts, too.
        match present {
            Some(_) => self.stats.cluster_modified.inc(),
            None => self.stats.cluster_added.inc(),
        }
        let known = present.as_ref().filter(|present| {
            present.cluster.is_settled() && present.fingerprint.finds_hosts_alike(&fingerprint)
        });
        let known = known.map(|present| Arc::clone(&present.cluster));
        if let Some(source) = &message.eds_cluster_config.eds_config {
            let path = path.field("eds_cluster_config").field("eds_config");
            warnings.borrow_mut().extend(config_subscription::deprecation(source, &path));
        }
        let built = self.environment.build(message, path, &inheritance, warnings)?;
        let known = known.filter(|known| known.is_eds() && built.cluster.is_eds());
        if let Some(known) = &known {
            built.cluster.adopt_hosts(known);
        }
        self.take_in(Managed::new(built, node, fingerprint, *version), known.is_some());
        Ok(true)
    }

    /// Uses a version at once if its hosts are known, or if nothing runs yet that could be served wrongly.
    fn take_in(self: &Arc<Self>, managed: Managed, hosts_are_known: bool) {
        let work = managed.work();
        let mut state = self.lock();
        let runtime = state.runtime.clone().filter(|_| work.is_some());
        if runtime.is_some() && !hosts_are_known {
            managed.cluster.stats.discovery.warming_state.set(1);
            state.warming.insert(Arc::clone(&managed.cluster.info.name), managed);
            self.count(&state);
        } else {
            self.activate(&mut state, managed);
        }
        drop(state);
        if let Some((runtime, work)) = runtime.zip(work) {
            self.run_discovery(&runtime, work, None);
        }
    }
}
