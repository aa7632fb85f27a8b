//! The admin interface: what an operator asks the running process.
//!
//! Endpoints answer at once from what the managers know; they run on the main thread, never on a worker. Shapes are
//! Envoy's: <https://www.envoyproxy.io/docs/envoy/latest/operations/admin>.

mod config_dump;
mod help;
mod http;
mod listeners;
mod logging;
mod process;
mod runtime;
mod stats;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use underpass_core::admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse};

pub use http::{AdminBindError, AdminServer};

use crate::{
    cluster_manager::ClusterManager, command_line::Options, config::node::Node, lifecycle::Lifecycle,
    listener_manager::ListenerManager, logging::Logging,
};

/// The section of `/config_dump` about endpoints.
pub(crate) const ENDPOINTS: &str = "endpoints";

type Section = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The endpoints and the sections of `/config_dump`, by path and name.
#[derive(Default)]
pub struct AdminRegistry {
    endpoints: RwLock<BTreeMap<&'static str, Arc<AdminEndpoint>>>,
    sections: RwLock<BTreeMap<&'static str, Section>>,
}

impl Admin for AdminRegistry {
    fn add_endpoint(&self, endpoint: AdminEndpoint) {
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        endpoints.insert(endpoint.path, Arc::new(endpoint));
    }

    fn add_config_dump(&self, name: &'static str, section: Section) {
        self.sections.write().unwrap_or_else(PoisonError::into_inner).insert(name, section);
    }
}

impl AdminRegistry {
    /// Answers a request.
    pub fn answer(&self, method: &str, path: &str, request: &AdminRequest) -> AdminResponse {
        let endpoint = self.endpoints.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        match endpoint {
            Some(endpoint) if endpoint.mutates && method != "POST" => {
                AdminResponse::error(405, format!("Method {method} not allowed, POST required."))
            }
            Some(endpoint) => (endpoint.handle)(request),
            None => AdminResponse::error(404, format!("invalid path. {}", self.help())),
        }
    }

    /// The list of endpoints.
    pub fn endpoints(&self) -> Vec<Arc<AdminEndpoint>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What the sections show; `null` is one that has no meaning in this process.
    ///
    /// Endpoints are many, so they are shown if they are asked for.
    fn sections(&self, endpoints: bool) -> Vec<serde_json::Value> {
        let sections = self.sections.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = sections.iter().filter(|(name, _)| endpoints || **name != ENDPOINTS);
        wanted.map(|(_, section)| section()).filter(|section| !section.is_null()).collect()
    }
}

/// What the built-in endpoints show and change.
pub struct AdminSources {
    /// The command line.
    pub options: Arc<Options>,
    /// Who the process is, as the configuration says it.
    pub node: Node,
    /// What the process is doing.
    pub lifecycle: Arc<Lifecycle>,
    /// The stats.
    pub stats: underpass_core::stats::Store,
    /// What exists once in the process.
    pub server: Arc<underpass_core::server::ServerContext>,
    /// The clusters.
    pub clusters: Arc<ClusterManager>,
    /// The listeners.
    pub listeners: Arc<ListenerManager>,
    /// The process's log.
    pub logging: Arc<Logging>,
    /// The stats of the process as a whole.
    pub server_stats: Arc<crate::server_stats::ServerStats>,
    /// The stats of the runtime keys.
    pub runtime_stats: crate::runtime_layers::RuntimeStats,
    /// Opens log files anew.
    pub reopen_logs: Arc<dyn Fn() + Send + Sync>,
}

/// Adds the built-in endpoints.
pub fn add_endpoints(registry: &Arc<AdminRegistry>, sources: &Arc<AdminSources>) {
    help::add(registry);
    process::add(registry, sources);
    stats::add(registry, sources);
    listeners::add(registry, sources);
    config_dump::add(registry);
    logging::add(registry, sources);
    runtime::add(registry, sources);
}
