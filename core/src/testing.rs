//! For tests of extensions: a process that serves nothing, a way to read their configurations, and what they logged.
//!
//! Behind the feature `testing`, which belongs into `[dev-dependencies]`.
//!
//! ```
//! # use underpass_core::{access_log::AccessLoggerConfig, testing};
//! let report = testing::read::<dyn AccessLoggerConfig>("'@type': type.googleapis.com/no.such.Type").unwrap_err();
//! assert!(report.contains("no.such.Type"));
//! ```

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    access_log::{AccessLogManager, AccessLogSink},
    address::Address,
    admin::{Admin, AdminEndpoint},
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, Reader, TypedConfig, parse_yaml},
    config_subscription::ResourceReader,
    connection::Connection,
    drain::DrainSignal,
    extension::{Category, ExtensionSet},
    init::InitManager,
    io::BoxIo,
    listener_filter::AcceptedSocket,
    runtime::{Layer, Runtime},
    server::{ConnectionIds, NodeInfo, ServerContext, ServerOptions, Singletons},
    stats::Store,
    stream_info::{ListenerInfo, SharedStreamInfo, StreamInfo},
    worker::Worker,
};

/// Reads the typed config of an extension that is linked into the test, from its YAML with `@type`.
///
/// # Errors
/// The report, as the user would see it; the file's name is `test.yaml`.
pub fn read<C: ?Sized + Category>(yaml: &str) -> Result<TypedConfig<C>, String>
where
    Box<C>: for<'de> Deserialize<'de>,
{
    let extensions = ExtensionSet::from_inventory().map_err(|error| error.to_string())?;
    let document = parse_yaml("test.yaml", yaml).map_err(|report| report.to_string())?;
    let reader = Reader::new(&extensions);
    let config = reader.read(&document.root, ConfigPath::root(), "google.protobuf.Any");
    config.ok_or_else(|| reader.into_report().to_string())
}

/// A process that serves nothing.
pub struct TestServer {
    /// What extensions see of it.
    pub context: Arc<ServerContext>,
    /// Its stats.
    pub stats: Store,
    logs: Arc<MemoryLogs>,
}

impl Default for TestServer {
    fn default() -> Self {
        Self::with_runtime(Vec::new())
    }
}

impl TestServer {
    /// One with these layers of runtime keys.
    pub fn with_runtime(layers: Vec<Layer>) -> Self {
        Self::new(Runtime::new(layers, false))
    }

    /// One that was started with `--compat envoy`.
    pub fn compatible() -> Self {
        Self::new(Runtime::new(Vec::new(), true))
    }

    fn new(runtime: Runtime) -> Self {
        let stats = Store::new(1);
        let logs = Arc::new(MemoryLogs::default());
        let context = ServerContext {
            stats: stats.scope(""),
            runtime: Arc::new(runtime),
            extensions: Arc::new(ExtensionSet::from_inventory().unwrap_or_default()),
            node: NodeInfo::default(),
            options: ServerOptions { concurrency: 1, drain_time: Duration::from_secs(600), validate: false },
            access_logs: Arc::clone(&logs) as _,
            admin: Arc::new(NoAdmin),
            init: Arc::new(InitManager::default()),
            singletons: Singletons::default(),
            connection_ids: ConnectionIds::default(),
            health_checks: Arc::default(),
            resources: ResourceReader::default(),
        };
        Self { context: Arc::new(context), stats, logs }
    }

    /// Builds something as the engine would; `scope` is what its stats begin with.
    ///
    /// # Errors
    /// What `build` says.
    pub fn build<T>(
        &self,
        scope: &str,
        build: impl FnOnce(&BuildContext<'_>) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let (scope, warnings) = (self.stats.scope(scope), RefCell::default());
        build(&BuildContext::new(&self.context, &scope, ConfigPath::root(), &warnings))
    }

    /// A worker of it.
    pub fn worker(&self) -> Rc<Worker> {
        Rc::new(Worker::new(0, Arc::clone(&self.context)))
    }

    /// A stream from `remote` to `local`, accepted by a listener without a name.
    pub fn stream(&self, remote: Address, local: Address) -> SharedStreamInfo {
        let id = self.context.connection_ids.next();
        Rc::new(StreamInfo::new(id, Arc::new(ListenerInfo::default()), remote, local))
    }

    /// A connection as a listener that never drains hands it to its filter chain.
    pub fn connection(&self, worker: &Rc<Worker>, io: BoxIo, remote: Address, local: Address) -> Connection {
        Connection {
            io,
            info: self.stream(remote, local),
            worker: Rc::clone(worker),
            drain: DrainSignal::default().watch(),
            buffer_limit: 1024 * 1024,
        }
    }

    /// A client, and its TCP connection as a listener hands it to its listener filters.
    pub async fn accept(&self) -> io::Result<(TcpStream, AcceptedSocket)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let local = listener.local_addr()?;
        let (client, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
        let (io, remote) = accepted?;
        let info = self.stream(remote.into(), local.into());
        Ok((client?, AcceptedSocket { io: Box::new(io), info, worker: self.worker() }))
    }

    /// The lines that were written to an access log.
    pub fn logged(&self, path: &str) -> Vec<String> {
        self.logs.with(Path::new(path), Clone::clone)
    }

    /// The value of a counter or gauge, if there is one of that name.
    pub fn find_stat(&self, name: &str) -> Option<u64> {
        let snapshot = self.stats.snapshot();
        let mut all = snapshot.counters.iter().chain(&snapshot.gauges);
        all.find(|stat| stat.name.as_str() == name).map(|stat| stat.value)
    }

    /// The value of a counter, by its full name.
    pub fn counter(&self, name: &str) -> u64 {
        self.stats.scope("").counter(name).value()
    }
}

struct NoAdmin;

impl Admin for NoAdmin {
    fn add_endpoint(&self, _: AdminEndpoint) {}

    fn add_config_dump(&self, _: &'static str, _: Box<dyn Fn() -> serde_json::Value + Send + Sync>) {}
}

/// Access logs that stay in memory.
#[derive(Default)]
struct MemoryLogs(Mutex<HashMap<PathBuf, Arc<Mutex<Vec<String>>>>>);

struct MemoryLog(Arc<Mutex<Vec<String>>>);

impl MemoryLogs {
    fn file(&self, path: &Path) -> Arc<Mutex<Vec<String>>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(files.entry(path.to_owned()).or_default())
    }

    fn with<T>(&self, path: &Path, read: impl FnOnce(&Vec<String>) -> T) -> T {
        read(&self.file(path).lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AccessLogManager for MemoryLogs {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn AccessLogSink>> {
        Ok(Arc::new(MemoryLog(self.file(path))))
    }
}

impl AccessLogSink for MemoryLog {
    fn write(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
