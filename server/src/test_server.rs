//! A process for unit tests: what listeners and clusters are built with, without threads, files or sockets.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use underpass_core::{
    access_log::{AccessLogManager, AccessLogSink},
    admin::{Admin, AdminEndpoint},
    config::Value,
    config_subscription::ResourceReader,
    extension::ExtensionSet,
    init::InitManager,
    runtime::{Layer, Runtime},
    server::{ConnectionIds, NodeInfo, ServerContext, ServerOptions, Singletons},
    stats::{Snapshot, Store},
};

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server context, and what a test wants to see of it.
pub(crate) struct TestServer {
    pub(crate) context: Arc<ServerContext>,
    pub(crate) store: Store,
    pub(crate) logs: Lines,
    /// Sections of `/config_dump`.
    pub(crate) sections: Arc<Sections>,
}

/// What differs from the usual.
pub(crate) struct TestOptions {
    pub(crate) concurrency: usize,
    pub(crate) drain_time: Duration,
    /// Runtime keys.
    pub(crate) runtime: Vec<(&'static str, f64)>,
}

impl Default for TestOptions {
    fn default() -> Self {
        Self { concurrency: 1, drain_time: Duration::from_secs(600), runtime: Vec::new() }
    }
}

impl TestServer {
    /// A process with every extension that is linked into the test.
    pub(crate) fn new(options: TestOptions) -> Self {
        let TestOptions { concurrency, drain_time, runtime } = options;
        let store = Store::new(concurrency);
        let values = runtime.into_iter().map(|(key, value)| (key.to_owned(), Value::Number(value))).collect();
        let (logs, sections) = (Lines::default(), Arc::<Sections>::default());
        let context = Arc::new(ServerContext {
            stats: store.scope(""),
            runtime: Arc::new(Runtime::new(vec![Layer { name: "test".into(), admin: false, values }], false)),
            extensions: Arc::new(ExtensionSet::from_inventory().unwrap()),
            node: NodeInfo::default(),
            options: ServerOptions { concurrency, drain_time, validate: false },
            access_logs: Arc::new(logs.clone()),
            admin: Arc::clone(&sections) as _,
            init: Arc::new(InitManager::default()),
            singletons: Singletons::default(),
            connection_ids: ConnectionIds::default(),
            health_checks: Arc::default(),
            resources: ResourceReader::default(),
        });
        Self { context, store, logs, sections }
    }

    /// The value of a counter or gauge; 0 if it does not exist.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let Snapshot { counters, gauges, .. } = self.store.snapshot();
        counters.iter().chain(&gauges).find(|stat| stat.name.as_str() == name).map_or(0, |stat| stat.value)
    }

    /// The names and values of what was used, below a prefix.
    pub(crate) fn used(&self, prefix: &str) -> Vec<String> {
        let Snapshot { counters, gauges, .. } = self.store.snapshot();
        let used = counters.iter().chain(&gauges).filter(|stat| stat.value > 0);
        let mut lines: Vec<_> = used.map(|stat| format!("{}: {}", stat.name.as_str(), stat.value)).collect();
        lines.retain(|line| line.starts_with(prefix));
        lines.sort();
        lines
    }

    /// Waits until a counter or gauge has a value.
    pub(crate) async fn wait_for(&self, name: &str, value: u64) {
        eventually(|| self.stat(name) == value, || format!("{name} is {}, not {value}", self.stat(name)))
            .await;
    }
}

/// Waits until something holds; panics with a text if it takes too long.
pub(crate) async fn eventually(holds: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{}", otherwise());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lines that access loggers wrote, whatever their file. Clones hold the same lines.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AccessLogSink for Lines {
    fn write(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl AccessLogManager for Lines {
    fn open(&self, _path: &Path) -> std::io::Result<Arc<dyn AccessLogSink>> {
        Ok(Arc::new(self.clone()))
    }
}

/// Sections of `/config_dump`.
#[derive(Default)]
pub(crate) struct Sections(Mutex<Vec<Section>>);

type Section = Box<dyn Fn() -> Json + Send + Sync>;

impl Sections {
    pub(crate) fn all(&self) -> Vec<Json> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|section| section()).collect()
    }
}

impl Admin for Sections {
    fn add_endpoint(&self, _endpoint: AdminEndpoint) {}

    fn add_config_dump(&self, _name: &'static str, section: Box<dyn Fn() -> Json + Send + Sync>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(section);
    }
}
