//! The listener manager: which listeners there are, from the first configuration on and through every update.
//!
//! One per process. It builds listeners out of their messages, owns the listening sockets, and tells the workers by
//! snapshots what there is to serve. Everything that changes goes through [`ListenerManager::add_or_update`] and
//! [`ListenerManager::remove`], whether it comes from the bootstrap, a file that is watched or a control plane.
//!
//! | what changed | what happens |
//! |---|---|
//! | filter chains only | in place: new connections get the new chains, those of chains that are gone drain |
//! | anything else | a new listener takes over the sockets, the old one drains |
//! | removed | kernel sockets close at once, connections drain; an internal listener accepts until the end of the drain |
//!
//! Draining takes the time of `--drain-time-s`; then connections that are still open are closed.

mod change;
mod config_dump;
mod drain;
mod reload;
mod routes_dump;
mod snapshot;
mod state;
mod stats;
mod status;
#[cfg(test)]
mod tests;
mod update;
mod worker;

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Node},
    server::ServerContext,
    worker::Worker,
};

pub(crate) use self::status::address_to_json;
pub use self::{reload::HeldSockets, state::Which, status::ListenerStatus};
use self::{
    snapshot::Snapshot,
    state::{FailedUpdate, Phase, State},
    stats::ListenerManagerStats,
    worker::WorkerListeners,
};
pub use crate::listener::{Source, socket::BindError};
use crate::{
    config::{listener, overload::OverloadManager},
    listener::connection_limit::{ConnectionCount, GlobalConnections},
    timestamp,
};

/// The listeners of a process.
pub struct ListenerManager {
    server: Arc<ServerContext>,
    stats: ListenerManagerStats,
    /// Connections through kernel sockets, which have a limit.
    global: Arc<GlobalConnections>,
    /// All connections.
    connections: ConnectionCount,
    state: Mutex<State>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// How many workers serve.
    workers: AtomicUsize,
    this: Weak<Self>,
}

/// A listener as it is configured, and where that stands.
pub struct ListenerConfig<'a> {
    /// The message.
    pub message: &'a listener::Listener,
    /// The same as it was written.
    pub node: Arc<Node>,
    /// Where it stands: `static_resources.listeners[0]`.
    pub path: ConfigPath,
    /// Who says so.
    pub source: Source,
}

/// What [`ListenerManager::add_or_update`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There is one more listener.
    Added,
    /// A new version replaced the old one.
    Updated,
    /// It is there, and will serve when what it waits for is there.
    Warming,
    /// The listener got other filter chains.
    UpdatedInPlace,
    /// Nothing: the listener says what it said before, belongs to the bootstrap, or listeners were stopped.
    Ignored,
}

impl ListenerManager {
    /// A manager without listeners. The overload manager may limit the connections of the process.
    pub fn new(server: &Arc<ServerContext>, overload: &OverloadManager) -> Arc<Self> {
        let manager = Arc::new_cyclic(|this: &Weak<Self>| Self {
            stats: ListenerManagerStats::new(&server.stats.scope("listener_manager")),
            server: Arc::clone(server),
            global: Arc::new(GlobalConnections::new(overload.max_downstream_connections())),
            connections: ConnectionCount::default(),
            state: Mutex::default(),
            snapshot: watch::Sender::default(),
            workers: AtomicUsize::new(0),
            this: Weak::clone(this),
        });
        config_dump::add(&manager);
        routes_dump::add(&manager);
        manager
    }

    /// Adds a listener, or makes the one of its name what is configured now. All of it is built before anything changes:
    /// on an error everything is as before.
    ///
    /// Once the sockets are bound, those of new listeners are bound here. To be called in a tokio runtime then, which does
    /// the waiting for what drains.
    ///
    /// # Errors
    /// If the message makes no sense, or if its address cannot be bound.
    pub fn add_or_update(
        &self,
        config: &ListenerConfig<'_>,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<Change, BuildError> {
        let uuid = config.message.name.is_empty().then(uuid);
        let name = uuid.as_deref().unwrap_or(&config.message.name);
        let mut state = self.lock();
        let (outcome, warming) = match self.change(&mut state, config, name, warnings) {
            Ok((change, warming)) => (Ok(change), warming),
            Err(error) => (Err(error), None),
        };
        match &outcome {
            Ok(_) => drop(state.failed.remove(name)),
            Err(error) if config.source != Source::Static => {
                let (node, details) = (Arc::clone(&config.node), error.message.clone());
                state.failed.insert(name.to_owned(), FailedUpdate { node, at: timestamp::now(), details });
            }
            Err(_) => {}
        }
        drop(state);
        // Not under the lock: what it waits for may be there at once.
        if let Some(init) = warming {
            return Ok(self.warm(name, &init));
        }
        outcome
    }

    /// Removes a listener that came from a file that is watched or from a control plane; says whether there was one. Those
    /// of the bootstrap stay.
    ///
    /// To be called in a tokio runtime once workers serve.
    pub fn remove(&self, name: &str) -> bool {
        let mut state = self.lock();
        state.failed.remove(name);
        let warming = state.warming.get(name).map(|warming| &warming.prepared.listener().origin.source);
        if warming.is_some_and(|source| *source == Source::Static) {
            return false;
        }
        if state.warming.remove(name).is_some() {
            self.count_warming(&state);
            if state.get(name).is_none() {
                self.stats.listener_removed.inc();
                return true;
            }
        }
        if state.get(name).is_none_or(|present| present.listener.origin.source == Source::Static) {
            return false;
        }
        let Some(removed) = state.take(name) else { return false };
        self.stats.listener_removed.inc();
        self.retire(&mut state, &removed, &[]);
        self.publish(&mut state);
        true
    }

    /// Binds the sockets of all listeners; those that are added later are bound when they are added.
    ///
    /// # Errors
    /// The first that cannot be bound, which is logged as well.
    pub fn bind(&self) -> Result<(), BindError> {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Bound);
        for placement in state.active.values_mut() {
            let sockets = self.open(&placement.listener.base, &placement.sockets)?;
            *placement = Arc::new(placement.with_sockets(sockets));
        }
        Ok(())
    }

    /// Serves all listeners on a worker, and follows every change. To be called on the worker's thread, in its runtime,
    /// after the bootstrap extensions are installed. The first call makes the sockets listen.
    ///
    /// # Errors
    /// If a socket cannot be watched on this worker.
    pub fn attach(&self, worker: &Rc<Worker>) -> io::Result<()> {
        self.start();
        let mut changes = self.snapshot.subscribe();
        let listeners = WorkerListeners::new(
            worker,
            changes.clone(),
            self.connections.clone(),
            self.stats.listener_create_success.clone(),
        );
        let outcome = listeners.follow();
        if self.workers.fetch_add(1, Ordering::Relaxed) + 1 == self.server.options.concurrency {
            self.stats.workers_started.set(1);
        }
        let failures = self.stats.listener_create_failure.clone();
        tokio::task::spawn_local(async move {
            while changes.changed().await.is_ok() {
                if let Err(error) = listeners.follow() {
                    failures.inc();
                    tracing::error!(target: "config", "a worker cannot accept connections on a socket: {error}");
                }
            }
        });
        outcome
    }

    /// Makes the sockets listen, once.
    fn start(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Started {
            return;
        }
        state.phase = Phase::Started;
        for placement in state.active.values().cloned().collect::<Vec<_>>() {
            let name = &placement.listener.base.name;
            if let Err(error) = placement.sockets.iter().try_for_each(|socket| socket.listen()) {
                // As in Envoy, the others go on without it.
                self.stats.listener_create_failure.inc();
                tracing::error!(target: "config", "final pre-worker listener init for listener '{name}' failed: {error}");
                state.take(name);
            }
        }
        self.publish(&mut state);
    }

    /// How many connections are open, through kernel sockets and internal ones.
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// Workers hear of all changes together when the returned value is dropped: what is told costs as much as there are
    /// listeners, so it shall not be told for each of many.
    pub fn batch(&self) -> Batch<'_> {
        self.lock().batches += 1;
        Batch(self)
    }

    /// The names of those that do not come from the bootstrap.
    pub fn names_from_api(&self) -> Vec<Arc<str>> {
        let state = self.lock();
        let active = state.active.values().map(|placement| &placement.listener);
        let all = active.chain(state.warming.values().map(|warming| warming.prepared.listener()));
        let of_api = all.filter(|listener| listener.origin.source != Source::Static);
        of_api.map(|listener| Arc::clone(&listener.base.name)).collect()
    }

    /// The listeners that do not serve yet, and what each of them waits for.
    pub fn warming(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let state = self.lock();
        state.warming.iter().map(|(name, warming)| (Arc::clone(name), warming.init.waiting())).collect()
    }

    /// Notes that the configuration of a listener made no sense, for `/config_dump`.
    pub fn note_failure(&self, name: &str, node: &Arc<Node>, details: String) {
        let failed = FailedUpdate { node: Arc::clone(node), at: timestamp::now(), details };
        self.lock().failed.insert(name.to_owned(), failed);
    }

    /// Notes the version of what was taken over last, for `/config_dump`.
    pub fn set_version(&self, version: &str) {
        version.clone_into(&mut self.lock().version);
    }

    fn count_warming(&self, state: &State) {
        self.stats.total_listeners_warming.set(state.warming.len() as u64);
    }

    /// Tells the workers.
    fn publish(&self, state: &mut State) {
        self.stats.total_listeners_active.set(state.active.len() as u64);
        state.unpublished = state.batches > 0;
        if !state.unpublished {
            self.snapshot.send_replace(Arc::new(state.snapshot()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes that workers hear of together.
#[must_use = "workers hear of the changes when this is dropped"]
pub struct Batch<'m>(&'m ListenerManager);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.batches -= 1;
        if state.unpublished {
            self.0.publish(&mut state);
        }
    }
}

/// The name of a listener that has none, as in Envoy.
fn uuid() -> String {
    let number = fastrand::u128(..);
    let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
    // Version 4, variant 1 (RFC 9562, section 5.4).
    let (version, variant) = (part(64, 12) | 0x4000, part(48, 14) | 0x8000);
    format!("{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}", part(96, 32), part(80, 16), part(0, 48))
}
