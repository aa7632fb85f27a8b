//! The listeners of one worker: follows the snapshots of the listener manager.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::{Rc, Weak},
    sync::Arc,
};

use tokio::sync::watch;
use underpass_core::{
    address::Address, internal_listener::InternalListenerRegistry, stats::Counter, worker::Worker,
};

use super::snapshot::{Placement, Snapshot};
use crate::listener::{
    Tag,
    acceptor::Acceptor,
    active_listener::{ActiveListener, Neighbours},
    connection_limit::ConnectionCount,
    internal::InternalEndpoint,
    socket::ListenSocket,
};

/// The listeners of one worker.
pub(super) struct WorkerListeners {
    worker: Rc<Worker>,
    /// What the manager says, and whether it was applied here.
    snapshots: RefCell<watch::Receiver<Arc<Snapshot>>>,
    /// For their connections.
    total: ConnectionCount,
    /// Counts versions that were started.
    create_success: Counter,
    started: RefCell<HashMap<Tag, Started>>,
    acceptors: RefCell<HashMap<SocketKey, Acceptor>>,
    /// Who serves an internal listener's name.
    internal: RefCell<HashMap<Arc<str>, Tag>>,
    /// Who serves an address, for connections with a restored destination.
    by_address: RefCell<HashMap<SocketAddr, Tag>>,
    this: Weak<Self>,
}

struct Started {
    active: Rc<ActiveListener>,
    placement: Arc<Placement>,
}

/// Identifies a listening socket as long as somebody holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SocketKey(*const ListenSocket);

impl SocketKey {
    fn of(socket: &Arc<ListenSocket>) -> Self {
        Self(Arc::as_ptr(socket))
    }
}

impl WorkerListeners {
    pub(super) fn new(
        worker: &Rc<Worker>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        total: ConnectionCount,
        create_success: Counter,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            worker: Rc::clone(worker),
            snapshots: RefCell::new(snapshots),
            total,
            create_success,
            started: RefCell::default(),
            acceptors: RefCell::default(),
            internal: RefCell::default(),
            by_address: RefCell::default(),
            this: Weak::clone(this),
        })
    }

    /// Does what has changed. On an error the rest is done all the same.
    pub(super) fn follow(&self) -> io::Result<()> {
        let snapshot = Arc::clone(&self.snapshots.borrow_mut().borrow_and_update());
        self.apply(&snapshot)
    }

    fn apply(&self, snapshot: &Snapshot) -> io::Result<()> {
        for placement in &snapshot.placements {
            self.start_or_update(placement);
        }
        // The new ones take over before the old ones go, so that no connection is lost.
        let outcome = self.accept_for(snapshot);
        self.answer_internal(snapshot);
        let wanted: HashSet<_> = snapshot.placements.iter().map(|placement| placement.tag()).collect();
        let gone: Vec<_> = self.started.borrow_mut().extract_if(|tag, _| !wanted.contains(tag)).collect();
        for (tag, started) in gone {
            self.by_address.borrow_mut().retain(|_, served_by| *served_by != tag);
            started.active.close();
        }
        outcome
    }

    fn start_or_update(&self, placement: &Arc<Placement>) {
        let mut listeners = self.started.borrow_mut();
        let Some(present) = listeners.get_mut(&placement.tag()) else {
            let version = Arc::clone(&placement.listener);
            let neighbours: Weak<Self> = Weak::clone(&self.this);
            let active = ActiveListener::start(&self.worker, version, self.total.clone(), neighbours);
            self.create_success.inc();
            let addresses = placement.addresses.iter().filter_map(Address::socket);
            self.by_address.borrow_mut().extend(addresses.map(|address| (address, placement.tag())));
            listeners.insert(placement.tag(), Started { active, placement: Arc::clone(placement) });
            return;
        };
        if Arc::ptr_eq(&present.placement, placement) {
            return;
        }
        if !Arc::ptr_eq(&present.placement.listener, &placement.listener) {
            present.active.update(Arc::clone(&placement.listener));
            self.create_success.inc();
        }
        present.placement = Arc::clone(placement);
        present.active.close_where(|chain| !placement.has(chain));
    }

    /// Accepts on the sockets of the snapshot, and on no others.
    fn accept_for(&self, snapshot: &Snapshot) -> io::Result<()> {
        let listeners = self.started.borrow();
        let mut acceptors = self.acceptors.borrow_mut();
        let mut wanted = HashSet::new();
        let mut outcome = Ok(());
        for placement in &snapshot.placements {
            let Some(Started { active, .. }) = listeners.get(&placement.tag()) else { continue };
            for socket in &placement.sockets {
                let key = SocketKey::of(socket);
                wanted.insert(key);
                if let Some(acceptor) = acceptors.get(&key) {
                    acceptor.retarget(active);
                    continue;
                }
                match Acceptor::start(Arc::clone(socket), Rc::clone(active)) {
                    Ok(acceptor) => drop(acceptors.insert(key, acceptor)),
                    Err(error) => outcome = Err(error),
                }
            }
        }
        acceptors.retain(|key, _| wanted.contains(key));
        outcome
    }

    /// Puts the internal listeners of the snapshot where clients on this worker find them.
    fn answer_internal(&self, snapshot: &Snapshot) {
        let Some(registry) = self.worker.slots().get::<InternalListenerRegistry>() else { return };
        let mut internal = self.internal.borrow_mut();
        let named = snapshot.placements.iter().filter_map(|placement| {
            Some((Arc::clone(placement.listener.base.internal_name()?), placement.tag()))
        });
        let wanted: HashMap<_, _> = named.collect();
        let listeners = self.started.borrow();
        for (name, tag) in wanted.iter().filter(|(name, tag)| internal.get(*name) != Some(*tag)) {
            if let Some(Started { active, .. }) = listeners.get(tag) {
                registry.add(Arc::clone(name), Rc::new(InternalEndpoint(Rc::clone(active))));
            }
        }
        for name in internal.keys().filter(|name| !wanted.contains_key(*name)) {
            registry.remove(name);
        }
        *internal = wanted;
    }
}

impl Neighbours for WorkerListeners {
    fn are_outdated(&self) -> bool {
        // An error means that the manager is gone, and then nothing changes any more.
        self.snapshots.borrow().has_changed().unwrap_or(false)
    }

    fn listener_at(&self, address: &Address) -> Option<Rc<ActiveListener>> {
        let address = address.socket()?;
        let any = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let by_address = self.by_address.borrow();
        let any = || by_address.get(&SocketAddr::new(any, address.port()));
        let tag = by_address.get(&address).or_else(any)?;
        self.started.borrow().get(tag).map(|started| Rc::clone(&started.active))
    }
}

impl Drop for WorkerListeners {
    /// The registry holds listeners, which hold the worker, which holds the registry.
    fn drop(&mut self) {
        if let Some(registry) = self.worker.slots().get::<InternalListenerRegistry>() {
            self.internal.borrow().keys().for_each(|name| drop(registry.remove(name)));
        }
    }
}
