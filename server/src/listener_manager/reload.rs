//! Reading the configuration file again: its listeners become those that the file has now.
//!
//! In two steps, so that a file is taken over whole or not at all: [`ListenerManager::try_static`] builds what differs and
//! opens its sockets without touching what serves, [`ListenerManager::set_static`] makes the change.
//!
//! A listener of the file takes the place of one of the same name that a watched file or a control plane added, as at a
//! start, where it is there first.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use underpass_core::{
    address::Address,
    build_context::BuildError,
    config::{ConfigPath, Node},
    init::InitManager,
};

use super::{
    ListenerConfig, ListenerManager, Source,
    snapshot::Placement,
    state::{State, exclusive_addresses, open_sockets},
    update::{duplicate_address, is_ignored, is_in_place, reuse_port_cannot_change, reuse_port_differs},
    uuid,
};
use crate::listener::{ListenerBase, Tag, socket::ListenSocket};

/// What reading the file again did to its listeners.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StaticChanges {
    /// Those that are new or differ.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// What was refused after all, for example because somebody else took an address meanwhile.
    pub errors: Vec<BuildError>,
    /// What deserves a word.
    pub warnings: Vec<BuildError>,
}

/// Sockets that are open for a change that is to come; unless it takes them, they close when this is dropped.
#[derive(Debug, Default)]
pub struct HeldSockets(Vec<Arc<ListenSocket>>);

/// Listeners of the file by the names under which they run, and those that it does not have any more.
struct Plan<'c> {
    wanted: Vec<(String, &'c ListenerConfig<'c>)>,
    gone: Vec<Arc<str>>,
}

impl ListenerManager {
    /// Finds out whether the listeners of the file can become these: all that differ are built, and their sockets are opened.
    /// Nothing changes. `held` are the sockets of an earlier try that has not come to its end.
    ///
    /// # Errors
    /// Everything that is in the way.
    pub fn try_static(
        &self,
        configs: &[ListenerConfig<'_>],
        held: &HeldSockets,
    ) -> Result<HeldSockets, Vec<BuildError>> {
        let mut state = self.lock();
        let plan = Plan::new(&state, configs);
        let mut errors = Vec::new();
        let mut spare = plan.sockets_of_gone(&state);
        spare.extend(held.0.iter().cloned());
        let mut opened = HeldSockets::default();
        let (changed, same): (Vec<_>, Vec<_>) =
            plan.wanted.iter().partition(|(name, config)| is_changed(&state, config, name));
        let mut taken = addresses_that_stay(&state, &plan, &same);
        for (name, config) in changed {
            if let Err(error) = self.try_one(&mut state, name, config, &mut taken, &mut spare, &mut opened.0)
            {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(opened) } else { Err(errors) }
    }

    fn try_one(
        &self,
        state: &mut State,
        name: &str,
        config: &ListenerConfig<'_>,
        taken: &mut HashMap<Address, Arc<str>>,
        spare: &mut Vec<Arc<ListenSocket>>,
        opened: &mut Vec<Arc<ListenSocket>>,
    ) -> Result<(), BuildError> {
        // Warnings were found when the file was checked; what would be waited for is not begun.
        let (warnings, init) = (RefCell::default(), Arc::<InitManager>::default());
        let builder = self.builder(config, name, &warnings, &init);
        let present = state.get(name).cloned();
        if let Some(present) = present.as_ref().filter(|present| is_in_place(present, config)) {
            builder.chains(&present.listener.base, Some(&present.listener.chains))?;
            claim(&present.listener.base, taken, &config.path)?;
            return Ok(());
        }
        let base = builder.base(Tag(state.next_number()), &self.global)?;
        builder.chains(&base, None)?;
        claim(&base, taken, &config.path)?;
        if present.as_ref().is_some_and(|present| reuse_port_differs(&present.listener.base, &base)) {
            return Err(reuse_port_cannot_change(&base, &config.path));
        }
        let own = present.map_or(Vec::new(), |present| present.sockets.clone());
        let candidates: Vec<_> = own.into_iter().chain(spare.iter().cloned()).collect();
        let sockets = open_sockets(&base, &candidates, self.server.options.concurrency);
        let sockets =
            sockets.map_err(|error| BuildError::at(config.path.field("address"), error.to_string()))?;
        spare.retain(|spare| !sockets.iter().any(|socket| Arc::ptr_eq(socket, spare)));
        opened.extend(sockets);
        Ok(())
    }

    /// Makes the listeners of the file these; others drain. What differs from what [`try_static`](Self::try_static) saw is
    /// looked at again. To be called in a tokio runtime.
    pub fn set_static(&self, configs: &[ListenerConfig<'_>], held: HeldSockets) -> StaticChanges {
        let _batch = self.batch();
        let warnings = RefCell::default();
        let mut changes = StaticChanges::default();
        let mut warming = Vec::new();
        let mut state = self.lock();
        let plan = Plan::new(&state, configs);
        let candidates: Vec<_> = plan.sockets_of_gone(&state).into_iter().chain(held.0).collect();
        state.spare.clone_from(&candidates);
        for name in &plan.gone {
            self.let_go(&mut state, name);
            changes.removed.push(name.to_string());
        }
        let wanted: Vec<_> =
            plan.wanted.iter().filter(|(name, config)| is_changed(&state, config, name)).collect();
        // Listeners may swap their addresses.
        for (name, _) in &wanted {
            state.release_addresses(name);
        }
        for (name, config) in wanted {
            match self.change(&mut state, config, name, &warnings) {
                Ok((_, init)) => {
                    drop(state.failed.remove(name.as_str()));
                    warming.extend(init.map(|init| (name.clone(), init)));
                    changes.changed.push(name.clone());
                }
                Err(error) => changes.errors.push(error),
            }
        }
        state.spare.clear();
        candidates.iter().filter(|socket| !state.uses(socket)).for_each(|socket| socket.close());
        drop(state);
        for (name, init) in warming {
            self.warm(&name, &init);
        }
        changes.warnings = warnings.into_inner();
        changes
    }

    /// Removes a listener of the file. Its sockets stay open as long as another may take them.
    fn let_go(&self, state: &mut State, name: &str) {
        state.warming.remove(name);
        self.count_warming(state);
        self.stats.listener_removed.inc();
        let Some(removed) = state.take(name) else { return };
        let spare = state.spare.clone();
        self.retire(state, &removed, &spare);
        self.publish(state);
    }

    /// Whether a version of a listener of the file waits until it can serve.
    pub fn is_static_warming(&self) -> bool {
        let state = self.lock();
        let mut warming = state.warming.values();
        warming.any(|warming| warming.prepared.listener().origin.source == Source::Static)
    }

    /// Whether connections of an earlier version of any listener may go on.
    pub fn is_draining(&self) -> bool {
        let state = self.lock();
        !state.draining.is_empty() || state.active.values().any(|placement| !placement.retired.is_empty())
    }

    /// Whether listeners were stopped, so that none is added any more.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped.is_some()
    }
}

impl<'c> Plan<'c> {
    fn new(state: &State, configs: &'c [ListenerConfig<'c>]) -> Self {
        let mut named = HashSet::new();
        let mut nameless = Nameless::of(state);
        let mut wanted = Vec::new();
        for config in configs {
            let name = match &*config.message.name {
                "" => nameless.take(&config.node),
                name => name.to_owned(),
            };
            // As at a start, the first of a name counts; the check of the file has said so.
            if named.insert(name.clone()) {
                wanted.push((name, config));
            }
        }
        let active = state.active.values().map(|placement| &placement.listener);
        let all = active.chain(state.warming.values().map(|warming| warming.prepared.listener()));
        let gone =
            all.filter(|each| each.origin.source == Source::Static && !named.contains(&*each.base.name));
        let mut gone: Vec<_> = gone.map(|listener| Arc::clone(&listener.base.name)).collect();
        gone.sort();
        gone.dedup();
        Self { wanted, gone }
    }

    /// New listeners at the same addresses may take them over, with the connections that wait there.
    fn sockets_of_gone(&self, state: &State) -> Vec<Arc<ListenSocket>> {
        let placements = self.gone.iter().filter_map(|name| state.get(name));
        let sockets = placements.flat_map(|placement| &placement.sockets);
        sockets.filter(|socket| !socket.is_at_any_port()).cloned().collect()
    }
}

/// Listeners of the file without a name, and the names under which they run.
struct Nameless(Vec<(Arc<str>, Arc<Node>)>);

impl Nameless {
    fn of(state: &State) -> Self {
        let listeners = state.active.values().map(|placement| &placement.listener);
        let nameless = listeners.filter(|listener| {
            let written = listener.origin.node.get("name").and_then(|name| name.as_text()).unwrap_or("");
            listener.origin.source == Source::Static && written.is_empty()
        });
        Self(nameless.map(|it| (Arc::clone(&it.base.name), Arc::clone(&it.origin.node))).collect())
    }

    /// The one that says the same, or that has the same address; otherwise a new one.
    fn take(&mut self, node: &Node) -> String {
        let address = |node: &Node| node.get("address").map(|address| address.stable_hash());
        let same = self.0.iter().position(|(_, present)| present.stable_hash() == node.stable_hash());
        let found = same.or_else(|| self.0.iter().position(|(_, present)| address(present) == address(node)));
        found.map_or_else(uuid, |at| self.0.swap_remove(at).0.to_string())
    }
}

fn is_changed(state: &State, config: &ListenerConfig<'_>, name: &str) -> bool {
    !is_ignored(state, config, name, state.get(name).map(|present| &**present), &RefCell::default())
}

/// The addresses that others keep: listeners that do not change, and those that come from elsewhere.
fn addresses_that_stay(
    state: &State,
    plan: &Plan<'_>,
    same: &[&(String, &ListenerConfig<'_>)],
) -> HashMap<Address, Arc<str>> {
    let wanted: HashSet<&str> = plan.wanted.iter().map(|(name, _)| name.as_str()).collect();
    let same: HashSet<&str> = same.iter().map(|(name, _)| name.as_str()).collect();
    let placements = state.active.values().filter(|placement| {
        let listener = &placement.listener;
        let name = &*listener.base.name;
        same.contains(name) || (listener.origin.source != Source::Static && !wanted.contains(name))
    });
    let of = |placement: &Arc<Placement>| {
        let base = Arc::clone(&placement.listener.base);
        exclusive_addresses(&base).map(move |address| (address, Arc::clone(&base.name))).collect::<Vec<_>>()
    };
    placements.flat_map(of).collect()
}

fn claim(
    base: &ListenerBase,
    taken: &mut HashMap<Address, Arc<str>>,
    path: &ConfigPath,
) -> Result<(), BuildError> {
    if exclusive_addresses(base).any(|address| taken.contains_key(&address)) {
        return Err(BuildError::at(path.clone(), duplicate_address(base)));
    }
    taken.extend(exclusive_addresses(base).map(|address| (address, Arc::clone(&base.name))));
    Ok(())
}
