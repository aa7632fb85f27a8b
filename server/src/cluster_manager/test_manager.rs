//! A cluster manager for unit tests, with clusters out of YAML.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use tokio::runtime::Handle;
use underpass_core::{
    cluster::{LoadBalancerContext, PoolFailure, UpstreamConnection},
    config::{ConfigPath, Node, Reader, parse_yaml},
    extension::ExtensionSet,
    worker::Worker,
};

use super::{ClusterConfig, ClusterManager};
use crate::{
    client_connection::Factories,
    cluster::dns::tests::FakeLookup,
    config::{bootstrap, cluster::Cluster},
    test_server::{TestOptions, TestServer},
};

/// A manager in a process of its own, whose name server is a fake one.
pub(crate) struct TestManager {
    pub(crate) server: TestServer,
    pub(crate) manager: Arc<ClusterManager>,
    pub(crate) names: Arc<FakeLookup>,
    pub(crate) warnings: RefCell<Vec<underpass_core::build_context::BuildError>>,
}

/// A cluster as a file would have it.
pub(crate) fn parse(yaml: &str) -> (Cluster, Arc<Node>) {
    let document = parse_yaml("test.yaml", yaml).unwrap();
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    let cluster = reader.read(&document.root, ConfigPath::root(), "envoy.config.cluster.v3.Cluster");
    let report = reader.into_report();
    assert!(!report.has_errors(), "{report}");
    (cluster.unwrap(), document.root)
}

impl TestManager {
    pub(crate) fn new() -> Self {
        Self::with_factories(Factories::linked().unwrap())
    }

    /// A manager in a process with these runtime keys.
    pub(crate) fn with_runtime(runtime: Vec<(&'static str, f64)>) -> Self {
        Self::with(TestOptions { runtime, ..TestOptions::default() }, Factories::linked().unwrap())
    }

    pub(crate) fn with_factories(factories: Factories) -> Self {
        Self::with(TestOptions::default(), factories)
    }

    fn with(options: TestOptions, factories: Factories) -> Self {
        let server = TestServer::new(options);
        let defaults = bootstrap::ClusterManager::default();
        let manager = ClusterManager::with_factories(&server.context, &defaults, factories);
        let names = Arc::new(FakeLookup::default());
        manager.environment.set_lookup(Arc::clone(&names) as _);
        Self { server, manager, names, warnings: RefCell::default() }
    }

    /// Adds a cluster of the configuration file.
    pub(crate) fn add(&self, yaml: &str) -> Result<bool, String> {
        self.put(yaml, false)
    }

    /// Adds or changes a cluster as a control plane does.
    pub(crate) fn update(&self, yaml: &str) -> Result<bool, String> {
        self.put(yaml, true)
    }

    fn put(&self, yaml: &str, added_via_api: bool) -> Result<bool, String> {
        let (cluster, node) = parse(yaml);
        let path = ConfigPath::root().field("clusters").index(0);
        let config = ClusterConfig { message: &cluster, node, path, version: added_via_api.then_some("1") };
        let result = self.manager.add_or_update(&config, &self.warnings);
        result.map_err(|error| error.to_string())
    }

    /// Starts discovery in the runtime of the caller.
    pub(crate) fn start(&self) {
        self.manager.start(&Handle::current());
    }

    /// A worker with its view of the clusters. To be called in a `LocalSet`.
    pub(crate) fn worker(&self) -> Rc<Worker> {
        let worker = Rc::new(Worker::new(0, Arc::clone(&self.server.context)));
        worker.set_cluster_manager(self.manager.worker_view(&worker));
        worker
    }

    /// The addresses of a cluster's hosts.
    pub(crate) fn addresses(&self, cluster: &str) -> Vec<String> {
        let statuses = self.manager.statuses();
        let status = statuses.into_iter().find(|status| status.name == cluster).unwrap();
        status.hosts.iter().map(|host| host.address.to_string()).collect()
    }

    /// What was counted for a cluster, without its memberships.
    pub(crate) fn counted(&self, cluster: &str) -> String {
        let mut lines = self.server.used(&format!("cluster.{cluster}."));
        lines.retain(|line| !line.contains(".membership_") && !line.contains("total_match_count"));
        lines.join("\n").replace(&format!("cluster.{cluster}."), "")
    }
}

/// Opens a connection for a stream of bytes.
pub(crate) async fn open_tcp(worker: &Worker, cluster: &str) -> Result<UpstreamConnection, PoolFailure> {
    let cluster = worker.cluster_manager().unwrap().cluster(cluster).unwrap();
    cluster.open_tcp(&LoadBalancerContext::default()).await
}
