//! The process: built from a configuration, then served until it is told to stop.

mod problems;
mod reload;
mod restart_only;
mod signals;

use std::{cell::RefCell, io, path::Path, process::ExitCode, rc::Rc, sync::Arc};

use tokio::task::LocalSet;
use underpass_core::{
    address::Address,
    bootstrap_extension::BootstrapExtension,
    build_context::BuildError,
    config::{ConfigPath, Document, Report},
    config_subscription::{ConfigWatcher, ResourceReader, UnknownFields},
    extension::ExtensionSet,
    init::InitManager,
    main_thread,
    runtime::Runtime,
    server::{ConnectionIds, NodeInfo, ServerContext, ServerOptions, Singletons},
    stats::{Scope, Store},
    worker::Worker,
};

use self::{problems::Problems, reload::Reloads, signals::Signals};
use crate::{
    access_log_files::AccessLogFiles,
    admin::{self, AdminRegistry, AdminServer, AdminSources},
    bootstrap_dump,
    cluster_manager::ClusterManager,
    command_line::{Mode, Options},
    config::{Bootstrap, HARMLESS},
    cross_checks,
    dynamic_resources::{ClusterDiscovery, ListenerDiscovery},
    lifecycle::{Lifecycle, State},
    listener,
    listener_manager::ListenerManager,
    load::Loaded,
    logging::Logging,
    runtime_layers,
    server_stats::ServerStats,
    service_manager::ServiceManager,
    stats_config,
    worker_thread::{WorkerParts, Workers},
};

/// A process that was built but does nothing yet.
pub struct Server {
    options: Arc<Options>,
    logging: Arc<Logging>,
    bootstrap: Bootstrap,
    context: Arc<ServerContext>,
    store: Store,
    stats: Arc<ServerStats>,
    access_logs: Arc<AccessLogFiles>,
    admin: Arc<AdminRegistry>,
    admin_address: Option<Address>,
    lifecycle: Arc<Lifecycle>,
    clusters: Arc<ClusterManager>,
    listeners: Arc<ListenerManager>,
    extensions: Arc<[Arc<dyn BootstrapExtension>]>,
    /// Subscriptions of the process.
    discoveries: RefCell<Vec<Arc<dyn ConfigWatcher>>>,
    reloads: Reloads,
    service_manager: ServiceManager,
}

/// Why a server that was built could not serve. The text is what Envoy says.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The admin interface.
    #[error(transparent)]
    Admin(#[from] admin::AdminBindError),
    /// A listener.
    #[error(transparent)]
    Listener(#[from] crate::listener_manager::BindError),
    /// The operating system.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it says.
        error: io::Error,
    },
}

impl Server {
    /// Builds everything that a configuration asks for. Nothing is opened and no thread started, so that
    /// `--mode validate` finds the same errors as a start.
    ///
    /// The report holds warnings; if it has errors, there is no server.
    pub fn build(
        options: Options,
        logging: Arc<Logging>,
        loaded: Loaded,
        extensions: Arc<ExtensionSet>,
    ) -> (Option<Self>, Report) {
        let Loaded { bootstrap, document, warnings: mut report } = loaded;
        // What is said later is about names that do not resolve, not about fields that are ignored.
        let ignored_fields = report.warnings().count() as u64;
        let mut problems = Problems { report: &mut report, document: &document };
        let server =
            Self::build_parts(Arc::new(options), logging, bootstrap, &document, extensions, &mut problems);
        if let Some(server) = &server {
            cross_checks::check(&server.bootstrap, &document, &mut report);
            server.stats.static_unknown_fields.add(ignored_fields);
        }
        report.sort();
        let server = server.filter(|_| !report.has_errors());
        (server, report)
    }

    fn build_parts(
        options: Arc<Options>,
        logging: Arc<Logging>,
        bootstrap: Bootstrap,
        document: &Document,
        extensions: Arc<ExtensionSet>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let store_options = problems.collect(stats_config::store_options(&bootstrap, &options))?;
        let store = Store::with_options(options.workers(), store_options);
        let root = store.scope("");
        let access_logs = Arc::new(AccessLogFiles::new(&root, &options));
        let admin = Arc::new(AdminRegistry::default());
        let runtime = Runtime::new(runtime_layers::layers(&bootstrap), options.compat.is_some());
        let context = Arc::new(ServerContext {
            stats: root.clone(),
            runtime: Arc::new(runtime),
            extensions,
            node: node_info(&bootstrap, &options),
            options: ServerOptions {
                concurrency: options.workers(),
                drain_time: options.drain_time(),
                validate: options.mode == Mode::Validate,
            },
            access_logs: Arc::clone(&access_logs) as _,
            admin: Arc::clone(&admin) as _,
            init: Arc::new(InitManager::default()),
            singletons: Singletons::default(),
            connection_ids: ConnectionIds::default(),
            health_checks: Arc::default(),
            resources: resource_reader(&root, &options),
        });
        problems.collect(runtime_layers::check(&bootstrap));
        problems.collect(cross_checks::local_cluster(&bootstrap));
        let admin_address = problems.collect(admin_address(&bootstrap)).flatten();
        // Clusters and listeners of the bootstrap may have sources of their own.
        Problems::announce_sources(&bootstrap, &context);
        let extensions = problems.build_extensions(&bootstrap, &context);
        let clusters = problems.build_clusters(&bootstrap, &context)?;
        let listeners = problems.build_listeners(&bootstrap, &context);
        problems.check_sources(&bootstrap, &context);
        bootstrap_dump::add(&*admin, document);
        Some(Self {
            stats: Arc::new(ServerStats::new(&root, options.workers())),
            lifecycle: Arc::new(Lifecycle::new(Arc::clone(&context.health_checks))),
            options,
            logging,
            bootstrap,
            context,
            store,
            access_logs,
            admin,
            admin_address,
            clusters,
            listeners,
            extensions: extensions.into(),
            discoveries: RefCell::default(),
            reloads: Reloads::new(&root, document.clone()),
            service_manager: ServiceManager::from_environment(),
        })
    }

    /// Reads the files that are watched, and those that they name in turn, as a start does, but serves nothing: what is wrong
    /// with them is logged. As in Envoy it is no reason to refuse the configuration: the process would start without it.
    pub fn check_sources(&self) -> Result<(), ServeError> {
        let runtime = main_thread_runtime()?;
        LocalSet::new().block_on(&runtime, self.initialize());
        Ok(())
    }

    /// Serves until a signal or `/quitquitquit` ends it.
    pub fn serve(self) -> Result<ExitCode, ServeError> {
        let runtime = main_thread_runtime()?;
        let outcome = LocalSet::new().block_on(&runtime, self.run());
        self.access_logs.flush_all();
        tracing::info!(target: "main", "exiting");
        outcome.map(|()| ExitCode::SUCCESS)
    }

    async fn run(&self) -> Result<(), ServeError> {
        let mut signals =
            Signals::new().map_err(|error| ServeError::System { what: "cannot catch signals", error })?;
        self.start_admin()?;
        self.listeners.bind()?;
        let worker = self.main_thread_worker();
        main_thread::start_services(&worker);
        tokio::select! {
            () = self.initialize() => {}
            () = signals.stopped(self) => return Ok(()),
            () = self.lifecycle.stopped() => return Ok(()),
        }
        if self.options.mode == Mode::InitOnly {
            return Ok(());
        }
        let workers = self.start_workers().await?;
        self.lifecycle.set_state(State::Live);
        self.stats.initialized(&self.lifecycle, &self.listeners);
        tracing::info!(target: "main", "all dependencies initialized; serving with {} workers", self.options.workers());
        self.service_manager.ready("serving");
        let flush = tokio::task::spawn_local(flush_stats(
            self.store.clone(),
            self.bootstrap.stats_flush_interval_or_default(),
        ));
        tokio::select! {
            () = signals.stopped(self) => {}
            () = self.lifecycle.stopped() => {}
        }
        tracing::info!(target: "main", "shutting down server instance");
        self.service_manager.stopping("shutting down");
        flush.abort();
        workers.stop();
        Ok(())
    }

    /// Everything that has to be there before workers serve, in Envoy's order: clusters, then listeners.
    async fn initialize(&self) {
        self.clusters.start(&tokio::runtime::Handle::current());
        self.clusters.initialized().await;
        if let Some(source) = &self.bootstrap.dynamic_resources.cds_config {
            tracing::info!(target: "upstream", "cm init: initializing cds");
            let discovery = ClusterDiscovery::start(source, &self.context, &self.clusters);
            self.discoveries.borrow_mut().push(discovery);
            self.clusters.initialized().await;
        }
        tracing::info!(target: "upstream", "cm init: all clusters initialized");
        self.lifecycle.set_state(State::Initializing);
        self.context.init.start();
        if let Some(source) = &self.bootstrap.dynamic_resources.lds_config {
            let discovery = ListenerDiscovery::start(source, &self.context, &self.listeners, &self.clusters);
            self.discoveries.borrow_mut().push(discovery);
        }
        self.context.init.ready().await;
    }

    /// A worker without listeners, for what runs on the main thread. Its number is that after the last of the others.
    fn main_thread_worker(&self) -> Rc<Worker> {
        let worker = Rc::new(Worker::new(self.options.workers(), Arc::clone(&self.context)));
        worker.set_cluster_manager(self.clusters.worker_view(&worker));
        worker
    }

    async fn start_workers(&self) -> Result<Workers, ServeError> {
        let parts = WorkerParts {
            server: Arc::clone(&self.context),
            clusters: Arc::clone(&self.clusters),
            listeners: Arc::clone(&self.listeners),
            extensions: Arc::clone(&self.extensions),
        };
        let started = Workers::start(self.options.workers(), &parts).await;
        started.map_err(|error| ServeError::System { what: "cannot start the workers", error })
    }

    /// Opens the access logs and the process's own log anew, after they were moved away.
    fn reopen_logs(&self) {
        self.log_reopener()();
    }

    fn log_reopener(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (access_logs, logging) = (Arc::clone(&self.access_logs), Arc::clone(&self.logging));
        Arc::new(move || {
            access_logs.reopen();
            logging.reopen();
        })
    }

    fn start_admin(&self) -> Result<(), ServeError> {
        let sources = Arc::new(AdminSources {
            options: Arc::clone(&self.options),
            node: self.bootstrap.node.clone(),
            lifecycle: Arc::clone(&self.lifecycle),
            stats: self.store.clone(),
            server: Arc::clone(&self.context),
            clusters: Arc::clone(&self.clusters),
            listeners: Arc::clone(&self.listeners),
            logging: Arc::clone(&self.logging),
            server_stats: Arc::clone(&self.stats),
            runtime_stats: runtime_layers::RuntimeStats::new(&self.context.stats),
            reopen_logs: self.log_reopener(),
        });
        admin::add_endpoints(&self.admin, &sources);
        let Some(address) = &self.admin_address else {
            tracing::warn!(target: "main", "No admin address given, so no admin HTTP server started.");
            return Ok(());
        };
        let server = AdminServer::bind(address)?;
        tracing::info!(target: "admin", "admin address: {}", server.address());
        if let Some(path) = &self.options.admin_address_path {
            write_address(path, &server.address().to_string());
        }
        tokio::task::spawn_local(server.serve(Arc::clone(&self.admin)));
        Ok(())
    }
}

fn main_thread_runtime() -> Result<tokio::runtime::Runtime, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ServeError::System { what: "cannot start the main thread", error })
}

/// Where the admin interface shall listen.
fn admin_address(bootstrap: &Bootstrap) -> Result<Option<Address>, BuildError> {
    let path = ConfigPath::root().field("admin").field("address");
    let configured = bootstrap.admin.as_ref().and_then(|admin| admin.address.as_ref());
    let resolved =
        configured.map(|address| listener::address::resolve(address, Vec::new(), &path)).transpose()?;
    Ok(resolved.map(|resolved| resolved.address))
}

/// A file that cannot be written is no reason not to serve; Envoy says so and goes on, too.
fn write_address(path: &Path, address: &str) {
    if let Err(error) = std::fs::write(path, address) {
        let path = path.display();
        tracing::error!(target: "admin", critical = true, "cannot open admin address output file '{path}': {error}");
    }
}

fn node_info(bootstrap: &Bootstrap, options: &Options) -> NodeInfo {
    let either =
        |option: &String, config: &str| if option.is_empty() { config.to_owned() } else { option.clone() };
    NodeInfo {
        id: either(&options.service_node, &bootstrap.node.id),
        cluster: either(&options.service_cluster, &bootstrap.node.cluster),
        region: bootstrap.node.locality.region.clone(),
        zone: either(&options.service_zone, &bootstrap.node.locality.zone),
        sub_zone: bootstrap.node.locality.sub_zone.clone(),
        metadata: bootstrap.node.metadata.clone(),
    }
}

fn resource_reader(root: &Scope, options: &Options) -> ResourceReader {
    let unknown_fields = match (options.reject_unknown_dynamic_fields, options.ignore_unknown_dynamic_fields)
    {
        (true, _) => UnknownFields::Reject,
        (_, true) => UnknownFields::Ignore,
        _ => UnknownFields::Warn,
    };
    let ignored = Some(root.scope("server").counter("dynamic_unknown_fields"));
    ResourceReader { harmless: HARMLESS, unknown_fields, ignored }
}

/// Histograms show what was recorded up to the last flush, as in Envoy.
async fn flush_stats(store: Store, interval: std::time::Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        store.merge_histograms();
    }
}
