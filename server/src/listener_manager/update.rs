//! Adding and changing listeners.

use std::{cell::RefCell, sync::Arc};

use underpass_core::{build_context::BuildError, config::ConfigPath, init::InitManager};

use super::{
    BindError, Change, ListenerConfig, ListenerManager, Source,
    change::only_filter_chains_differ,
    snapshot::{Placement, RetiredChains},
    state::{Phase, Prepared, State, Warming, open_sockets},
};
use crate::{
    listener::{
        Listener, ListenerBase, Origin, Tag,
        build::{Builder, direction},
        socket::ListenSocket,
    },
    timestamp,
};

impl ListenerManager {
    /// Does what [`add_or_update`](ListenerManager::add_or_update) says, under the lock.
    pub(super) fn change(
        &self,
        state: &mut State,
        config: &ListenerConfig<'_>,
        name: &str,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<(Change, Option<Arc<InitManager>>), BuildError> {
        let present = state.get(name).cloned();
        if is_ignored(state, config, name, present.as_deref(), warnings) {
            return Ok((Change::Ignored, None));
        }
        // What a listener waits for that is there from the start, the whole process waits for.
        let started = state.phase == Phase::Started;
        let init = if started { Arc::default() } else { Arc::clone(&self.server.init) };
        let builder = self.builder(config, name, warnings, &init);
        let in_place = present.as_ref().filter(|present| started && is_in_place(present, config));
        let prepared = match in_place {
            Some(present) => {
                let old = &present.listener;
                let chains = builder.chains(&old.base, Some(&old.chains))?;
                let base = Arc::clone(&old.base);
                Prepared::InPlace(Arc::new(Listener { base, chains, origin: origin(config) }))
            }
            None => self.prepare_whole(state, present.as_deref(), &builder, config)?,
        };
        if started && !init.is_ready() {
            let name = Arc::clone(&prepared.listener().base.name);
            if state.warming.remove(&name).is_none() && present.is_none() {
                self.stats.listener_added.inc();
            } else {
                self.stats.listener_modified.inc();
            }
            state.warming.insert(name, Warming { prepared, init: Arc::clone(&init) });
            self.count_warming(state);
            return Ok((Change::Warming, Some(init)));
        }
        let was_warming = state.warming.remove(name).is_some();
        self.count_warming(state);
        let change = self
            .activate(state, prepared)
            .map_err(|error| BuildError::at(config.path.field("address"), error.to_string()))?;
        match change {
            Change::Added if !was_warming => self.stats.listener_added.inc(),
            _ => self.stats.listener_modified.inc(),
        }
        Ok((change, None))
    }

    /// What builds a listener.
    pub(super) fn builder<'a>(
        &'a self,
        config: &'a ListenerConfig<'_>,
        name: &'a str,
        warnings: &'a RefCell<Vec<BuildError>>,
        init: &'a Arc<InitManager>,
    ) -> Builder<'a> {
        Builder {
            server: &self.server,
            config: config.message,
            name,
            node: &config.node,
            path: &config.path,
            warnings,
            init,
        }
    }

    /// Lets the version that waits for `init` fetch what it needs, and serve when that is there.
    pub(super) fn warm(&self, name: &str, init: &Arc<InitManager>) -> Change {
        init.start();
        if init.is_ready() {
            return self.end_warming(name, init).unwrap_or(Change::Warming);
        }
        let (manager, init, name) = (self.this.clone(), Arc::clone(init), name.to_owned());
        tokio::spawn(async move {
            init.ready().await;
            if let Some(manager) = manager.upgrade() {
                manager.end_warming(&name, &init);
            }
        });
        Change::Warming
    }

    fn end_warming(&self, name: &str, init: &Arc<InitManager>) -> Option<Change> {
        let mut state = self.lock();
        // It may have been replaced or removed meanwhile.
        state.warming.get(name).filter(|warming| Arc::ptr_eq(&warming.init, init))?;
        let Warming { prepared, .. } = state.warming.remove(name)?;
        self.count_warming(&state);
        let node = Arc::clone(&prepared.listener().origin.node);
        match self.activate(&mut state, prepared) {
            Ok(change) => Some(change),
            Err(error) => {
                drop(state);
                self.note_failure(name, &node, error.to_string());
                None
            }
        }
    }

    /// Makes a version the present one.
    fn activate(&self, state: &mut State, prepared: Prepared) -> Result<Change, BindError> {
        let change = match prepared {
            Prepared::InPlace(listener) => {
                let present = state.get(&listener.base.name).cloned();
                match present {
                    Some(present) => self.change_chains(state, &present, listener),
                    None => return Ok(Change::Ignored),
                }
            }
            Prepared::Whole(listener, sockets) => {
                if state.phase == Phase::Started {
                    self.listen(&listener.base, &sockets)?;
                }
                let taken_over = sockets.clone();
                match state.put(Arc::new(Placement::new(listener, sockets))) {
                    Some(replaced) => {
                        let kept = [&*taken_over, &state.spare].concat();
                        self.retire(state, &replaced, &kept);
                        Change::Updated
                    }
                    None => Change::Added,
                }
            }
        };
        self.publish(state);
        Ok(change)
    }

    fn change_chains(&self, state: &mut State, present: &Arc<Placement>, listener: Arc<Listener>) -> Change {
        let chains = &listener.chains;
        let retired: Vec<_> =
            present.listener.chains.iter().filter(|chain| !chains.contains(chain)).cloned().collect();
        let mut next = Placement::clone(present);
        next.listener = listener;
        if !retired.is_empty() {
            let gauges = retired.iter().map(|_| self.stats.total_filter_chains_draining.hold()).collect();
            let retired = Arc::new(RetiredChains { chains: retired, _gauges: gauges });
            self.drain_chains(present.tag(), &retired);
            next.retired.push(retired);
        }
        state.put(Arc::new(next));
        self.stats.listener_in_place_updated.inc();
        Change::UpdatedInPlace
    }

    fn prepare_whole(
        &self,
        state: &mut State,
        present: Option<&Placement>,
        builder: &Builder<'_>,
        config: &ListenerConfig<'_>,
    ) -> Result<Prepared, BuildError> {
        let base = builder.base(Tag(state.next_number()), &self.global)?;
        let chains = builder.chains(&base, None)?;
        if state.has_address_of(&base) {
            return Err(BuildError::at(config.path.clone(), duplicate_address(&base)));
        }
        if present.is_some_and(|present| reuse_port_differs(&present.listener.base, &base)) {
            return Err(reuse_port_cannot_change(&base, &config.path));
        }
        let previous = present.map_or(&[][..], |present| &present.sockets);
        let sockets = if state.phase == Phase::Loading {
            Vec::new()
        } else {
            let candidates = [previous, &state.spare].concat();
            let opened = self.open(&base, &candidates);
            opened.map_err(|error| BuildError::at(config.path.field("address"), error.to_string()))?
        };
        state.spare.retain(|spare| !sockets.iter().any(|socket| Arc::ptr_eq(socket, spare)));
        Ok(Prepared::Whole(Arc::new(Listener { base, chains, origin: origin(config) }), sockets))
    }

    /// The sockets of a listener, those of its previous version included where they fit.
    pub(super) fn open(
        &self,
        base: &ListenerBase,
        previous: &[Arc<ListenSocket>],
    ) -> Result<Vec<Arc<ListenSocket>>, BindError> {
        let opened = open_sockets(base, previous, self.server.options.concurrency);
        self.note_bind_failure(base, opened.as_ref().err());
        opened
    }

    fn listen(&self, base: &ListenerBase, sockets: &[Arc<ListenSocket>]) -> Result<(), BindError> {
        let listening = sockets.iter().try_for_each(|socket| socket.listen());
        self.note_bind_failure(base, listening.as_ref().err());
        listening
    }

    fn note_bind_failure(&self, base: &ListenerBase, error: Option<&BindError>) {
        if let Some(error) = error {
            self.stats.listener_create_failure.inc();
            tracing::error!(target: "config", "listener '{}' failed to bind or apply socket options: {error}", base.name);
        }
    }
}

/// Whether a message changes nothing.
pub(super) fn is_ignored(
    state: &State,
    config: &ListenerConfig<'_>,
    name: &str,
    present: Option<&Placement>,
    warnings: &RefCell<Vec<BuildError>>,
) -> bool {
    let direction = direction(config.message.traffic_direction);
    if state.stopped.is_some_and(|stopped| stopped.includes(direction)) {
        return true;
    }
    let hash = config.node.stable_hash();
    // A listener of the bootstrap belongs to it, also while it warms; one of others becomes its own when the bootstrap has it.
    let is_static = |source: &Source| *source == Source::Static;
    let says_nothing_new = |origin: &Origin| {
        let belongs_to_bootstrap = is_static(&origin.source) && !is_static(&config.source);
        let becomes_its_own = !is_static(&origin.source) && is_static(&config.source);
        belongs_to_bootstrap || (origin.node.stable_hash() == hash && !becomes_its_own)
    };
    if let Some(warming) = state.warming.get(name) {
        // What says the same as the present version again replaces the one that warms.
        return says_nothing_new(&warming.prepared.listener().origin);
    }
    let Some(present) = present else { return false };
    let origin = &present.listener.origin;
    if state.phase < Phase::Started && config.source == Source::Static {
        warnings.borrow_mut().push(duplicate(config, name, origin));
        return true;
    }
    says_nothing_new(origin)
}

/// Whether a listener that serves can become what is configured without a new one in its place.
pub(super) fn is_in_place(present: &Placement, config: &ListenerConfig<'_>) -> bool {
    !config.message.filter_chains.is_empty()
        && only_filter_chains_differ(&present.listener.origin.node, &config.node)
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

pub(super) fn duplicate_address(base: &ListenerBase) -> String {
    let addresses = base.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "error adding listener: '{}' has duplicate address '{addresses}' as existing listener, to check if the listener has \
         duplicated addresses with other listeners or 'enable_reuse_port' is set to 'false' for the listener",
        base.name
    )
}

pub(super) fn reuse_port_cannot_change(base: &ListenerBase, path: &ConfigPath) -> BuildError {
    let message = format!("Listener {}: reuse port cannot be changed during an update", base.name);
    BuildError::at(path.field("enable_reuse_port"), message)
}

pub(super) fn reuse_port_differs(old: &ListenerBase, new: &ListenerBase) -> bool {
    old.kernel()
        .zip(new.kernel())
        .is_some_and(|(old, new)| old.settings.reuse_port != new.settings.reuse_port)
}
