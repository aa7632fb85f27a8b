//! What the listener manager knows, behind one lock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use underpass_core::{address::Address, config::Node, init::InitManager, stream_info::TrafficDirection};

use super::snapshot::{Placement, Snapshot};
use crate::listener::{
    Endpoint, Listener, ListenerBase, Tag,
    socket::{BindError, ListenSocket},
};

/// How far the process has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The configuration is being read: nothing is opened.
    #[default]
    Loading,
    /// Sockets are bound.
    Bound,
    /// Workers accept connections.
    Started,
}

/// Which listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those whose `traffic_direction` is `INBOUND`.
    Inbound,
}

impl Which {
    pub(super) fn includes(self, direction: TrafficDirection) -> bool {
        self == Self::All || direction == TrafficDirection::Inbound
    }
}

/// What the listener manager knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// By age, which updates do not change.
    pub(super) active: BTreeMap<u64, Arc<Placement>>,
    by_name: HashMap<Arc<str>, u64>,
    by_address: HashMap<Address, u64>,
    /// New listeners, and new versions of active ones, that wait for something, by name.
    pub(super) warming: BTreeMap<Arc<str>, Warming>,
    /// Replaced or removed ones, until the drain time is over.
    pub(super) draining: Vec<Arc<Placement>>,
    /// No more listeners of these are added.
    pub(super) stopped: Option<Which>,
    /// Sockets that a listener which is added or changed may take: see `reload`.
    pub(super) spare: Vec<Arc<ListenSocket>>,
    /// Updates that failed, by name.
    pub(super) failed: BTreeMap<String, FailedUpdate>,
    last_number: u64,
    /// How many changes are under way that workers shall hear of together.
    pub(super) batches: usize,
    /// The version of what was taken over last.
    pub(super) version: String,
    /// Workers have not heard of everything.
    pub(super) unpublished: bool,
}

/// A version that is built, and how it takes the place of the present one.
pub(super) enum Prepared {
    /// It shares all but the filter chains.
    InPlace(Arc<Listener>),
    /// A listener of its own, with the sockets it will have.
    Whole(Arc<Listener>, Vec<Arc<ListenSocket>>),
}

impl Prepared {
    pub(super) fn listener(&self) -> &Arc<Listener> {
        match self {
            Self::InPlace(listener) | Self::Whole(listener, _) => listener,
        }
    }
}

/// A version that waits until it can serve.
pub(super) struct Warming {
    pub(super) prepared: Prepared,
    pub(super) init: Arc<InitManager>,
}

/// An update that was refused, for `/config_dump`.
pub(super) struct FailedUpdate {
    pub(super) node: Arc<Node>,
    /// When.
    pub(super) at: String,
    pub(super) details: String,
}

impl State {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Placement>> {
        self.active.get(self.by_name.get(name)?)
    }

    /// Puts a listener in the place of the one with its name, or behind all others. Returns the one it replaces.
    pub(super) fn put(&mut self, placement: Arc<Placement>) -> Option<Arc<Placement>> {
        let name = Arc::clone(&placement.listener.base.name);
        let number = match self.by_name.get(&name) {
            Some(number) => *number,
            None => self.next_number(),
        };
        self.by_name.insert(name, number);
        let addresses: Vec<_> = exclusive_addresses(&placement.listener.base).collect();
        let replaced = self.active.insert(number, placement);
        self.forget_addresses(replaced.as_ref(), number);
        self.by_address.extend(addresses.into_iter().map(|address| (address, number)));
        replaced
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Arc<Placement>> {
        let number = self.by_name.remove(name)?;
        let taken = self.active.remove(&number);
        self.forget_addresses(taken.as_ref(), number);
        taken
    }

    fn forget_addresses(&mut self, old: Option<&Arc<Placement>>, number: u64) {
        for address in old.into_iter().flat_map(|old| exclusive_addresses(&old.listener.base)) {
            if self.by_address.get(&address) == Some(&number) {
                self.by_address.remove(&address);
            }
        }
    }

    /// Lets others have the addresses of a listener that is about to change.
    pub(super) fn release_addresses(&mut self, name: &str) {
        if let Some(number) = self.by_name.get(name).copied() {
            let placement = self.active.get(&number).cloned();
            self.forget_addresses(placement.as_ref(), number);
        }
    }

    /// Whether a socket belongs to a listener that serves or will.
    pub(super) fn uses(&self, socket: &Arc<ListenSocket>) -> bool {
        let active = self.active.values().flat_map(|placement| &placement.sockets);
        let warming = self.warming.values().flat_map(|warming| match &warming.prepared {
            Prepared::InPlace(_) => &[][..],
            Prepared::Whole(_, sockets) => sockets,
        });
        active.chain(warming).any(|each| Arc::ptr_eq(each, socket))
    }

    /// Replaces a placement, wherever it is, by what `change` makes of it.
    pub(super) fn replace(&mut self, tag: Tag, change: impl FnOnce(&Placement) -> Placement) {
        let all = self.active.values_mut().chain(&mut self.draining);
        if let Some(placement) = all.into_iter().find(|placement| placement.tag() == tag) {
            *placement = Arc::new(change(placement));
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        if self.phase < Phase::Started {
            return Snapshot::default();
        }
        Snapshot { placements: self.draining.iter().chain(self.active.values()).cloned().collect() }
    }

    /// Whether a listener of another name has one of these addresses.
    pub(super) fn has_address_of(&self, base: &ListenerBase) -> bool {
        let own = self.by_name.get(&base.name);
        let taken_by = exclusive_addresses(base).filter_map(|address| self.by_address.get(&address));
        taken_by.into_iter().any(|number| Some(number) != own)
    }
}

/// The addresses that no other listener may have. Port 0 is another port each time it is bound.
pub(super) fn exclusive_addresses(base: &ListenerBase) -> impl Iterator<Item = Address> + use<> {
    let binds = base.kernel().is_none_or(|kernel| kernel.bind_to_port);
    base.addresses().into_iter().filter(move |address| address.port() != Some(0) || !binds)
}

/// The sockets of a listener: those of the previous version where they are what is wanted, else new ones.
pub(super) fn open_sockets(
    base: &ListenerBase,
    previous: &[Arc<ListenSocket>],
    workers: usize,
) -> Result<Vec<Arc<ListenSocket>>, BindError> {
    let Endpoint::Kernel(kernel) = &base.endpoint else { return Ok(Vec::new()) };
    if !kernel.bind_to_port {
        return Ok(Vec::new());
    }
    let mut previous = previous.to_vec();
    let open = |at| {
        if let Some(same) = previous.iter().position(|socket| socket.is_for(at, &kernel.settings)) {
            return Ok(previous.swap_remove(same));
        }
        ListenSocket::bind(at, &kernel.settings, workers).map(Arc::new)
    };
    kernel.addresses.iter().map(open).collect()
}
