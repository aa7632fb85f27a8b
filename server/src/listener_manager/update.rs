//! Adding and changing listeners.

use std::{cell::RefCell, sync::Arc};

use underpass_core::build_context::BuildError;

use super::{
    BindError, Change, ListenerConfig, ListenerManager, Source,
    change::only_filter_chains_differ,
    snapshot::{Placement, RetiredChains},
    state::{Phase, State, open_sockets},
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
    ) -> Result<Change, BuildError> {
        let present = state.get(name).cloned();
        if is_ignored(state, config, name, present.as_deref(), warnings) {
            return Ok(Change::Ignored);
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
                && only_filter_chains_differ(&present.listener.origin.node, &config.node)
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
        let mut next = Placement::clone(present);
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
        let chains = builder.chains(&base, None)?;
        if state.has_address_of(&base) {
            return Err(BuildError::at(config.path.clone(), duplicate_address(&base)));
        }
        if present.is_some_and(|present| reuse_port_differs(&present.listener.base, &base)) {
            let message = format!("Listener {}: reuse port cannot be changed during an update", base.name);
            return Err(BuildError::at(config.path.field("enable_reuse_port"), message));
        }
        let previous = present.map_or(&[][..], |present| &present.sockets);
        let sockets = match state.phase {
            Phase::Loading => Vec::new(),
            phase => {
                let opened = self.open(&base, previous, phase == Phase::Started);
                opened.map_err(|error| BuildError::at(config.path.field("address"), error.to_string()))?
            }
        };
        let taken_over = sockets.clone();
        let listener = Arc::new(Listener { base, chains, origin: origin(config) });
        let replaced = state.put(Arc::new(Placement::new(listener, sockets)));
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

    /// The sockets of a listener, those of its previous version included where they fit.
    pub(super) fn open(
        &self,
        base: &ListenerBase,
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
            tracing::error!(target: "config", "listener '{}' failed to bind or apply socket options: {error}", base.name);
        }
        opened
    }
}

/// Whether a message changes nothing.
fn is_ignored(
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
    let Some(present) = present else { return false };
    let origin = &present.listener.origin;
    if state.phase < Phase::Started && config.source == Source::Static {
        warnings.borrow_mut().push(duplicate(config, name, origin));
        return true;
    }
    let belongs_to_bootstrap = origin.source == Source::Static && config.source != Source::Static;
    belongs_to_bootstrap || origin.node.stable_hash() == config.node.stable_hash()
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

fn duplicate_address(base: &ListenerBase) -> String {
    let addresses = base.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "error adding listener: '{}' has duplicate address '{addresses}' as existing listener, to check if the listener has \
         duplicated addresses with other listeners or 'enable_reuse_port' is set to 'false' for the listener",
        base.name
    )
}

fn reuse_port_differs(old: &ListenerBase, new: &ListenerBase) -> bool {
    old.kernel()
        .zip(new.kernel())
        .is_some_and(|(old, new)| old.settings.reuse_port != new.settings.reuse_port)
}
