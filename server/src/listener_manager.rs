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
mod snapshot;
mod state;
mod stats;
mod status;
#[cfg(test)]
mod tests;
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

use self::{
    snapshot::{Placement, RetiredChains, Snapshot},
    state::{FailedUpdate, Phase, State, open_sockets},
    stats::ListenerManagerStats,
    worker::WorkerListeners,
};
pub use self::{state::Which, status::ListenerStatus};
pub use crate::listener::{Source, socket::BindError};
use crate::{
    config::{listener, overload::OverloadManager},
    listener::{
        Listener, Origin, Tag,
        build::Builder,
        connection_limit::{ConnectionCount, GlobalConnections},
        socket::ListenSocket,
    },
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
            global: Arc::new(GlobalConnections::new(overload)),
            connections: ConnectionCount::default(),
            state: Mutex::default(),
            snapshot: watch::Sender::default(),
            workers: AtomicUsize::new(0),
            this: Weak::clone(this),
        });
        config_dump::add(&manager);
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
        let outcome = self.change(&mut state, config, name, warnings);
        match &outcome {
            Ok(_) => drop(state.failed.remove(name)),
            Err(error) if config.source != Source::Static => {
                let (node, details) = (Arc::clone(&config.node), error.message.clone());
                state.failed.insert(name.to_owned(), FailedUpdate { node, at: timestamp::now(), details });
            }
            Err(_) => {}
        }
        outcome
    }

    fn change(
        &self,
        state: &mut State,
        config: &ListenerConfig<'_>,
        name: &str,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<Change, BuildError> {
        let present = state.get(name).cloned();
        if let Some(present) = &present {
            let origin = &present.listener.origin;
            if state.phase < Phase::Started && config.source == Source::Static {
                warnings.borrow_mut().push(duplicate(config, name, origin));
                return Ok(Change::Ignored);
            }
            if origin.source == Source::Static && config.source != Source::Static {
                return Ok(Change::Ignored);
            }
            if origin.node.stable_hash() == config.node.stable_hash() {
                return Ok(Change::Ignored);
            }
        }
        let builder = Builder {
            server: &self.server,
            config: config.message,
            name,
            node: &config.node,
            path: &config.path,
            warnings,
        };
        let in_place = present.as_ref().filter(|present| {
            state.phase == Phase::Started
                && !config.message.filter_chains.is_empty()
                && change::only_filter_chains_differ(&present.listener.origin.node, &config.node)
        });
        if let Some(present) = in_place {
            return self.update_in_place(state, present, &builder, config);
        }
        self.replace_or_add(state, present.as_deref(), &builder, config)
    }

    fn update_in_place(
        &self,
        state: &mut State,
        present: &Arc<Placement>,
        builder: &Builder<'_>,
        config: &ListenerConfig<'_>,
    ) -> Result<Change, BuildError> {
        let old = &present.listener;
        let chains = builder.chains(&old.base, Some(&old.chains))?;
        let retired: Vec<_> = old.chains.iter().filter(|chain| !chains.contains(chain)).cloned().collect();
        let mut next = present.with_sockets(present.sockets.clone());
        next.listener = Arc::new(Listener { base: Arc::clone(&old.base), chains, origin: origin(config) });
        if !retired.is_empty() {
            let gauges = retired.iter().map(|_| self.stats.total_filter_chains_draining.hold()).collect();
            let retired = Arc::new(RetiredChains { chains: retired, _gauges: gauges });
            self.drain_chains(present.tag(), &retired);
            next.retired.push(retired);
        }
        state.put(Arc::new(next));
        self.stats.listener_in_place_updated.inc();
        self.stats.listener_modified.inc();
        self.publish(state);
        Ok(Change::UpdatedInPlace)
    }

    fn replace_or_add(
        &self,
        state: &mut State,
        present: Option<&Placement>,
        builder: &Builder<'_>,
        config: &ListenerConfig<'_>,
    ) -> Result<Change, BuildError> {
        let base = builder.base(Tag(state.next_number()), &self.global)?;
        if state.stopped.is_some_and(|stopped| stopped.includes(&base)) {
            return Ok(Change::Ignored);
        }
        let chains = builder.chains(&base, None)?;
        if state.has_address_of(&base) {
            return Err(BuildError::at(config.path.clone(), duplicate_address(&base)));
        }
        if present.is_some_and(|present| reuse_port(&present.listener) != reuse_port_of(&base)) {
            let message = format!("Listener {}: reuse port cannot be changed during an update", base.name);
            return Err(BuildError::at(config.path.field("enable_reuse_port"), message));
        }
        let previous = present.map_or(&[][..], |present| &present.sockets);
        let sockets = match state.phase {
            Phase::Loading => Vec::new(),
            phase => {
                let opened = self.open(&base.name, &base, previous, phase == Phase::Started);
                opened.map_err(|error| BuildError::at(config.path.field("address"), error.to_string()))?
            }
        };
        let addresses = Placement::addresses_of(&base, &sockets);
        let taken_over = sockets.clone();
        let listener = Arc::new(Listener { base, chains, origin: origin(config) });
        let placement =
            Placement { listener, addresses, sockets, stopped: false, retired: Vec::new(), draining: None };
        let replaced = state.put(Arc::new(placement));
        let change = if let Some(replaced) = replaced {
            self.stats.listener_modified.inc();
            self.retire(state, &replaced, &taken_over);
            Change::Updated
        } else {
            self.stats.listener_added.inc();
            Change::Added
        };
        self.publish(state);
        Ok(change)
    }

    /// Removes a listener that came from a file that is watched or from a control plane; says whether there was one. Those
    /// of the bootstrap stay.
    ///
    /// To be called in a tokio runtime once workers serve.
    pub fn remove(&self, name: &str) -> bool {
        let mut state = self.lock();
        state.failed.remove(name);
        if state.get(name).is_none_or(|present| present.listener.origin.source == Source::Static) {
            return false;
        }
        let Some(removed) = state.take(name) else { return false };
        self.stats.listener_removed.inc();
        self.retire(&mut state, &removed, &[]);
        self.publish(&state);
        true
    }

    /// Binds the sockets of all listeners; those that are added later are bound when they are added.
    ///
    /// # Errors
    /// The first that cannot be bound, which is logged as well.
    pub fn bind(&self) -> Result<(), BindError> {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Bound);
        for placement in state.active.values().cloned().collect::<Vec<_>>() {
            let base = &placement.listener.base;
            let sockets = self.open(&base.name, base, &placement.sockets, false)?;
            state.replace(placement.tag(), |placement| placement.with_sockets(sockets));
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
        let listeners = WorkerListeners::new(
            worker,
            self.connections.clone(),
            self.stats.listener_create_success.clone(),
        );
        let mut snapshots = self.snapshot.subscribe();
        let present = Arc::clone(&snapshots.borrow_and_update());
        let outcome = listeners.apply(&present);
        drop(present);
        if self.workers.fetch_add(1, Ordering::Relaxed) + 1 == self.server.options.concurrency {
            self.stats.workers_started.set(1);
        }
        let failures = self.stats.listener_create_failure.clone();
        tokio::task::spawn_local(async move {
            while snapshots.changed().await.is_ok() {
                let next = Arc::clone(&snapshots.borrow_and_update());
                if let Err(error) = listeners.apply(&next) {
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
        self.publish(&state);
    }

    /// How many connections are open, through kernel sockets and internal ones.
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    fn open(
        &self,
        name: &str,
        base: &crate::listener::ListenerBase,
        previous: &[Arc<ListenSocket>],
        listen: bool,
    ) -> Result<Vec<Arc<ListenSocket>>, BindError> {
        let opened = open_sockets(base, previous, self.server.options.concurrency).and_then(|sockets| {
            if listen {
                sockets.iter().try_for_each(|socket| socket.listen())?;
            }
            Ok(sockets)
        });
        if let Err(error) = &opened {
            self.stats.listener_create_failure.inc();
            tracing::error!(target: "config", "listener '{name}' failed to bind or apply socket options: {error}");
        }
        opened
    }

    /// Tells the workers.
    fn publish(&self, state: &State) {
        self.stats.total_listeners_active.set(state.active.len() as u64);
        self.snapshot.send_replace(Arc::new(state.snapshot()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn origin(config: &ListenerConfig<'_>) -> Origin {
    Origin {
        node: Arc::clone(&config.node),
        path: config.path.clone(),
        source: config.source.clone(),
        last_updated: timestamp::now(),
    }
}

/// Envoy drops the second one without a word.
fn duplicate(config: &ListenerConfig<'_>, name: &str, first: &Origin) -> BuildError {
    let (path, place) = (&first.path, first.node.location());
    let message = format!(
        "duplicate listener '{name}': {path} ({place}) has this name already, so this one is ignored"
    );
    BuildError::at(config.path.clone(), message)
}

fn duplicate_address(base: &crate::listener::ListenerBase) -> String {
    let addresses = base.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "error adding listener: '{}' has duplicate address '{addresses}' as existing listener, to check if the listener has \
         duplicated addresses with other listeners or 'enable_reuse_port' is set to 'false' for the listener",
        base.name
    )
}

fn reuse_port(listener: &Listener) -> Option<bool> {
    reuse_port_of(&listener.base)
}

fn reuse_port_of(base: &crate::listener::ListenerBase) -> Option<bool> {
    base.kernel().map(|kernel| kernel.settings.reuse_port)
}

/// The name of a listener that has none, as in Envoy.
fn uuid() -> String {
    let number = fastrand::u128(..);
    let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
    // Version 4, variant 1 (RFC 9562, section 5.4).
    let (version, variant) = (part(64, 12) | 0x4000, part(48, 14) | 0x8000);
    format!("{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}", part(96, 32), part(80, 16), part(0, 48))
}
