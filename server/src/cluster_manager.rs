//! The cluster manager: all clusters of the process, from the configuration file and, later, from control planes.
//!
//! One exists per process. It builds clusters, keeps the configuration they came from, runs their discovery and publishes
//! them to the workers, each of which has a [view](ClusterManager::worker_view) of its own.

mod admin;
mod managed;
mod reload;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::runtime::Handle;
use underpass_core::{
    build_context::BuildError,
    cluster::{self, HealthFlag, HostId},
    init::{InitManager, InitTarget},
    server::ServerContext,
    worker::Worker,
};

use self::managed::{Managed, Work};
pub use self::update::ClusterConfig;
use crate::{
    client_connection::Factories,
    cluster::{
        build::Environment,
        directory::{ClusterManagerStats, Directory},
        discovery::FirstAnswer,
        shared::SharedCluster,
        status::ClusterStatus,
        worker_view::WorkerView,
    },
    config::bootstrap,
};

/// All clusters of the process.
pub struct ClusterManager {
    server: Arc<ServerContext>,
    environment: Environment,
    directory: Arc<Directory>,
    factories: Arc<Factories>,
    stats: ClusterManagerStats,
    /// Taken for the whole of an update, so that two never mix.
    updating: Mutex<()>,
    state: Mutex<State>,
    /// The clusters that the start waits for.
    init: InitManager,
}

#[derive(Default)]
struct State {
    /// In use, by name.
    active: BTreeMap<Arc<str>, Managed>,
    /// New clusters, and new versions of active ones, that wait for their first hosts.
    warming: BTreeMap<Arc<str>, Managed>,
    /// Where discovery runs, once it does.
    runtime: Option<Handle>,
    /// The version of what was taken over last.
    version: String,
    /// Keeps the start waiting while clusters wait for their first hosts.
    held: Option<InitTarget>,
}

impl ClusterManager {
    /// A manager without clusters. `defaults` is `cluster_manager` of the bootstrap.
    ///
    /// # Errors
    /// If two linked crates serve the same kind of address.
    pub fn new(
        server: &Arc<ServerContext>,
        defaults: &bootstrap::ClusterManager,
    ) -> Result<Arc<Self>, BuildError> {
        let factories = Factories::linked().map_err(|error| BuildError::new(error.to_string()))?;
        Ok(Self::with_factories(server, defaults, factories))
    }

    fn with_factories(
        server: &Arc<ServerContext>,
        defaults: &bootstrap::ClusterManager,
        factories: Factories,
    ) -> Arc<Self> {
        let directory = Arc::new(Directory::new(&server.stats));
        Arc::new(Self {
            server: Arc::clone(server),
            environment: Environment::new(server, &directory, defaults),
            directory,
            factories: Arc::new(factories),
            stats: ClusterManagerStats::new(&server.stats.scope("cluster_manager")),
            updating: Mutex::default(),
            state: Mutex::default(),
            init: InitManager::default(),
        })
    }

    /// Removes a cluster that was added by others than the configuration file. Connections to it live on. Returns whether
    /// there was one.
    pub fn remove(&self, name: &str) -> bool {
        self.take_out(name, true)
    }

    /// Removes a cluster if it comes from the configuration file, or if it does not.
    fn take_out(&self, name: &str, added_via_api: bool) -> bool {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if state.newest(name).is_none_or(|managed| managed.added_via_api != added_via_api) {
            return false;
        }
        let active = state.active.remove(name);
        let warming = state.warming.remove(name);
        self.count(&state);
        let held = state.release();
        drop(state);
        drop((warming, held));
        self.stats.cluster_removed.inc();
        if let Some(active) = active {
            self.directory.withdraw(&active.cluster.info.name);
        }
        true
    }

    /// Starts discovery, to run on `runtime`: that of the main thread. Until the first answers are there, the start waits
    /// ([`initialized`](Self::initialized)) for the clusters that are there now.
    pub fn start(self: &Arc<Self>, runtime: &Handle) {
        let mut state = self.lock();
        state.runtime = Some(runtime.clone());
        let waits = |managed: &Managed| {
            let name = &managed.cluster.info.name;
            managed.wait_at_start.then(|| self.init.add(format!("cluster {name}")))
        };
        let present = state.active.values().filter_map(|managed| Some((managed.work()?, waits(managed))));
        let present: Vec<_> = present.collect();
        drop(state);
        for (work, target) in present {
            self.run_discovery(runtime, work, target);
        }
    }

    /// Completes when the clusters that the start waits for have their first hosts.
    pub async fn initialized(&self) {
        self.init.ready().await;
    }

    /// The names of the clusters that the start waits for.
    pub fn waiting(&self) -> Vec<String> {
        self.init.waiting()
    }

    /// The clusters as a worker sees them. To be called on the worker's thread, within its runtime.
    pub fn worker_view(self: &Arc<Self>, worker: &Rc<Worker>) -> Rc<dyn cluster::ClusterManager> {
        WorkerView::new(Arc::clone(&self.directory), Arc::clone(&self.factories), worker)
    }

    /// All clusters in use and their hosts, by name.
    pub fn statuses(&self) -> Vec<ClusterStatus> {
        let state = self.lock();
        state
            .active
            .values()
            .map(|managed| ClusterStatus::new(&managed.cluster, managed.added_via_api))
            .collect()
    }

    /// Sets or clears a health flag of a host, as health checks and outlier detection do; workers pick by it from then on.
    /// Returns whether that changed anything.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for health checks and outlier detection, which are to come")
    )]
    pub fn set_health(&self, cluster: &str, host: HostId, flag: HealthFlag, on: bool) -> bool {
        self.directory.get(cluster).is_some_and(|cluster| cluster.set_health(host, flag, on))
    }

    /// The names of those that do not come from the configuration file.
    pub fn names_from_api(&self) -> Vec<Arc<str>> {
        let state = self.lock();
        let all = state.active.values().chain(state.warming.values()).filter(|managed| managed.added_via_api);
        let names: BTreeSet<_> = all.map(|managed| Arc::clone(&managed.cluster.info.name)).collect();
        names.into_iter().collect()
    }

    /// Something that [`initialized`](Self::initialized) waits for.
    pub fn init_target(&self, name: &str) -> InitTarget {
        self.init.add(name)
    }

    /// Keeps the start waiting until all clusters that wait for their first hosts have them.
    pub fn hold_until_warm(&self, target: InitTarget) {
        let mut state = self.lock();
        state.held = Some(target);
        let held = state.release();
        drop(state);
        drop(held);
    }

    /// Notes the version of what was taken over last, for `/config_dump`.
    pub fn set_version(&self, version: &str) {
        version.clone_into(&mut self.lock().version);
    }

    /// Whether there is a cluster of that name, in use or not.
    pub fn has(&self, name: &str) -> bool {
        self.lock().newest(name).is_some()
    }

    /// A cluster in use.
    #[cfg(test)]
    pub(crate) fn shared(&self, name: &str) -> Option<Arc<SharedCluster>> {
        self.directory.get(name)
    }

    fn activate(&self, state: &mut State, managed: Managed) {
        let name = Arc::clone(&managed.cluster.info.name);
        self.directory.publish(&managed.cluster);
        state.warming.remove(&name);
        state.active.insert(name, managed);
        self.count(state);
    }

    /// Begins to look for the hosts of a version. Not under the lock, since the first answer may be there at once.
    fn run_discovery(self: &Arc<Self>, runtime: &Handle, work: Work, target: Option<InitTarget>) {
        let Work { cluster, discovery } = work;
        // Names are not looked up when a configuration is checked; files are read.
        if self.server.options.validate && !cluster.is_eds() {
            return;
        }
        let (manager, settled) = (Arc::downgrade(self), Arc::downgrade(&cluster));
        let first = FirstAnswer::new(move || {
            settle(&manager, &settled);
            drop(target);
        });
        let entered = runtime.enter();
        let task = runtime.spawn(discovery.run(Arc::clone(&cluster), first)).abort_handle();
        drop(entered);
        match self.lock().version_of(&cluster) {
            Some(managed) => managed.task = Some(task),
            None => task.abort(),
        }
    }

    /// The first hosts of a version are there: if it was warming, it is used from now on.
    fn settled(&self, cluster: &Arc<SharedCluster>) {
        cluster.settle();
        let mut state = self.lock();
        let is_it = |managed: &Managed| Arc::ptr_eq(&managed.cluster, cluster);
        if state.warming.get(&cluster.info.name).is_some_and(is_it)
            && let Some(managed) = state.warming.remove(&cluster.info.name)
        {
            cluster.stats.discovery.warming_state.set(0);
            self.activate(&mut state, managed);
        }
        let held = state.release();
        drop(state);
        drop(held);
    }

    fn count(&self, state: &State) {
        self.stats.active_clusters.set(state.active.len() as u64);
        self.stats.warming_clusters.set(state.warming.len() as u64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settle(manager: &Weak<ClusterManager>, cluster: &Weak<SharedCluster>) {
    if let (Some(manager), Some(cluster)) = (manager.upgrade(), cluster.upgrade()) {
        manager.settled(&cluster);
    }
}

impl State {
    /// What keeps the start waiting, if it need not wait any more.
    fn release(&mut self) -> Option<InitTarget> {
        let waits = self.warming.values().any(|managed| managed.wait_at_start);
        if waits { None } else { self.held.take() }
    }

    /// What is kept of a version, be it in use or not.
    fn version_of(&mut self, cluster: &Arc<SharedCluster>) -> Option<&mut Managed> {
        let name = &cluster.info.name;
        let both = self.warming.get_mut(name).into_iter().chain(self.active.get_mut(name));
        { both }.find(|managed| Arc::ptr_eq(&managed.cluster, cluster))
    }

    /// The version that was configured last, be it in use or not.
    fn newest(&self, name: &str) -> Option<&Managed> {
        self.warming.get(name).or_else(|| self.active.get(name))
    }
}

#[cfg(test)]
pub(crate) mod test_manager;
#[cfg(test)]
mod tests;
