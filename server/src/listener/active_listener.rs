//! A listener on one worker: takes connections in and knows those that are open.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::{Rc, Weak},
    sync::Arc,
};

use slab::Slab;
use tokio::task::AbortHandle;
use underpass_core::{
    address::Address,
    io::BoxIo,
    stream_info::{SharedStreamInfo, StreamInfo},
    user_space_socket::UserSpaceSocket,
    worker::Worker,
};

use super::{
    Endpoint, Listener, ListenerBase,
    connection::{self, Served},
    connection_balancer::Membership,
    connection_limit::{ConnectionCount, CountedEverywhere},
    filter_chain::FilterChain,
    raw_connection::{KernelStream, RawConnection},
    stats::PerWorkerStats,
};

/// A listener on one worker. It outlives versions that differ in their filter chains only.
pub(crate) struct ActiveListener {
    worker: Rc<Worker>,
    /// The present version; connections that have a chain already go on with theirs.
    version: RefCell<Arc<Listener>>,
    base: Arc<ListenerBase>,
    per_worker: PerWorkerStats,
    /// All connections of the process.
    total: ConnectionCount,
    connections: RefCell<Slab<Open>>,
    /// The other listeners of the worker, for connections with a restored destination.
    neighbours: Weak<dyn Neighbours>,
    /// With exact balance, the place among the workers, until the listener is closed.
    balance: RefCell<Option<Membership>>,
    cannot_accept_logged: Cell<bool>,
}

/// The listeners of a worker, by address.
pub(crate) trait Neighbours {
    /// Something has changed of which this worker is about to hear.
    fn are_outdated(&self) -> bool;

    /// The listener that serves an address: at that very address, or at the port on any address.
    fn listener_at(&self, address: &Address) -> Option<Rc<ActiveListener>>;
}

/// A connection that is open.
#[derive(Default)]
struct Open {
    task: Option<AbortHandle>,
    /// `None` as long as none was chosen.
    chain: Option<Arc<FilterChain>>,
}

impl Open {
    /// Drops the task soon, which writes its logs.
    fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Keeps a connection known to its listener, and counted by the server; forgets it when dropped.
pub(super) struct Place {
    listener: Rc<ActiveListener>,
    key: usize,
}

impl ActiveListener {
    /// Starts a listener on a worker.
    pub(crate) fn start(
        worker: &Rc<Worker>,
        version: Arc<Listener>,
        total: ConnectionCount,
        neighbours: Weak<dyn Neighbours>,
    ) -> Rc<Self> {
        let base = Arc::clone(&version.base);
        let listener = Rc::new(Self {
            worker: Rc::clone(worker),
            per_worker: PerWorkerStats::of_worker(&base.scope, worker.index()),
            version: RefCell::new(version),
            base,
            total,
            connections: RefCell::default(),
            neighbours,
            balance: RefCell::default(),
            cannot_accept_logged: Cell::new(false),
        });
        listener.join_balance();
        listener
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn base(&self) -> &Arc<ListenerBase> {
        &self.base
    }

    /// The present version.
    pub(crate) fn version(&self) -> Arc<Listener> {
        Arc::clone(&self.version.borrow())
    }

    /// Gives connections that have no chain yet those of another version with the same base.
    pub(crate) fn update(&self, version: Arc<Listener>) {
        *self.version.borrow_mut() = version;
    }

    /// Ends the connections of chains that are not wanted any more.
    pub(crate) fn close_where(&self, unwanted: impl Fn(&Arc<FilterChain>) -> bool) {
        for (_, open) in &*self.connections.borrow() {
            if open.chain.as_ref().is_some_and(&unwanted) {
                open.end();
            }
        }
    }

    /// Ends all connections, and takes none from other workers any more.
    pub(crate) fn close(&self) {
        self.balance.borrow_mut().take();
        self.connections.borrow().iter().for_each(|(_, open)| open.end());
    }

    /// Takes a connection of the kernel in, unless there are too many; it may go to another worker.
    pub(crate) fn accept(self: &Rc<Self>, stream: KernelStream, local: Address, remote: Address) {
        let runtime = self.worker.server().runtime.snapshot();
        let mut by_process = None;
        if let Some(global) = &self.base.global {
            by_process = global.admit(&runtime);
            if by_process.is_none() {
                return self.base.stats.downstream_global_cx_overflow.inc();
            }
        }
        let limit = runtime.integer(&self.base.connection_limit_key, u64::MAX);
        let Some(by_listener) = self.base.connections.hold_below(limit) else {
            return self.base.stats.downstream_cx_overflow.inc();
        };
        let mut counted = CountedEverywhere::new(Some(by_listener), by_process);
        let balancer = self.base.kernel().and_then(|kernel| kernel.balancer.as_ref());
        if let Some(pick) = balancer.and_then(|balancer| balancer.pick(self.worker.index())) {
            counted.by_seat = Some(pick.counted);
            if let Some(elsewhere) = pick.elsewhere {
                return match stream.detach(local, remote, counted) {
                    // It comes back from a worker that has stopped in this moment.
                    Ok(raw) => elsewhere.send(raw).unwrap_or_else(|refused| self.serve_raw(refused.0)),
                    Err(error) => self.gone(&error),
                };
            }
        }
        self.serve_kernel(stream, local, remote, counted);
    }

    /// Takes in what another worker accepted.
    fn serve_raw(self: &Rc<Self>, raw: RawConnection) {
        let (local, remote) = (raw.local.clone(), raw.remote.clone());
        match raw.attach() {
            Ok((stream, counted)) => self.serve_kernel(stream, local, remote, counted),
            Err(error) => self.gone(&error),
        }
    }

    fn serve_kernel(
        self: &Rc<Self>,
        stream: KernelStream,
        local: Address,
        remote: Address,
        counted: CountedEverywhere,
    ) {
        self.serve(stream.into_io(), self.stream_info(remote, local), counted);
    }

    /// Takes an internal connection in. What the client side hands on is merged before anybody looks at the connection.
    pub(crate) fn accept_internal(self: &Rc<Self>, socket: UserSpaceSocket, local: Address) {
        let info = self.stream_info(Address::internal_client(), local);
        match socket.take_passthrough() {
            Some(passthrough) => info.merge(passthrough),
            None => info.internal_hops.set(1),
        }
        self.serve(Box::new(socket), info, CountedEverywhere::default());
    }

    /// Takes a connection over from a listener that handed it on because of its restored destination.
    pub(super) fn adopt(self: &Rc<Self>, io: BoxIo, from: &StreamInfo) {
        let addresses = from.addresses.borrow().clone();
        let info = self.stream_info(addresses.remote().clone(), addresses.local().clone());
        *info.addresses.borrow_mut() = addresses;
        info.local_address_restored.set(true);
        let by_process = self.base.global.as_ref().map(|global| global.hold());
        self.serve(io, info, CountedEverywhere::new(None, by_process));
    }

    /// Whether to serve new connections has to wait until this worker has heard of a change. A connection that comes after
    /// a change, such as an update that a control plane was told is accepted, is not to be served by what was before.
    pub(super) fn is_outdated(&self) -> bool {
        self.neighbours.upgrade().is_some_and(|neighbours| neighbours.are_outdated())
    }

    /// The listener that a connection with a restored destination belongs to, if it is not this one.
    pub(super) fn neighbour_at(self: &Rc<Self>, address: &Address) -> Option<Rc<ActiveListener>> {
        self.neighbours.upgrade()?.listener_at(address).filter(|found| !Rc::ptr_eq(found, self))
    }

    fn stream_info(&self, remote: Address, local: Address) -> SharedStreamInfo {
        let id = self.worker.server().connection_ids.next();
        Rc::new(StreamInfo::new(id, Arc::clone(&self.base.info), remote, local))
    }

    fn serve(self: &Rc<Self>, io: BoxIo, info: SharedStreamInfo, counted: CountedEverywhere) {
        if counted.by_listener.is_none() {
            self.base.connections.enter();
        }
        self.total.enter();
        let key = self.connections.borrow_mut().insert(Open::default());
        let place = Place { listener: Rc::clone(self), key };
        let task = tokio::task::spawn_local(connection::serve(Served::new(io, info, counted, place)));
        if let Some(open) = self.connections.borrow_mut().get_mut(key) {
            open.task = Some(task.abort_handle());
        }
    }

    fn gone(&self, error: &io::Error) {
        tracing::debug!(target: "conn_handler", "{}: a connection was gone at once: {error}", self.base.name);
    }

    pub(super) fn per_worker_stats(&self) -> &PerWorkerStats {
        &self.per_worker
    }

    pub(crate) fn max_accepts_per_event(&self) -> u32 {
        self.base.kernel().map_or(u32::MAX, |kernel| kernel.max_accepts_per_event)
    }

    pub(crate) fn record_accepted(&self, count: u32) {
        if count > 0 {
            self.base.stats.connections_accepted_per_socket_event.record(count.into());
            self.cannot_accept_logged.set(false);
        }
    }

    /// Counts a failure to accept, and says so once until it works again.
    pub(crate) fn cannot_accept(&self, error: &io::Error) {
        self.base.stats.underpass_accept_failure.inc();
        if !self.cannot_accept_logged.replace(true) {
            tracing::warn!(target: "conn_handler", "{}: cannot accept connections, will try again: {error}", self.base.name);
        }
    }

    fn join_balance(self: &Rc<Self>) {
        let Endpoint::Kernel(kernel) = &self.base.endpoint else { return };
        let Some(balancer) = &kernel.balancer else { return };
        let (membership, mut arrivals) = balancer.join(self.worker.index());
        *self.balance.borrow_mut() = Some(membership);
        let listener = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            while let Some(connection) = arrivals.recv().await {
                while listener.upgrade().is_some_and(|listener| listener.is_outdated()) {
                    tokio::task::yield_now().await;
                }
                // What arrives at a closed listener is closed, too.
                let open = listener.upgrade().filter(|listener| listener.balance.borrow().is_some());
                let Some(listener) = open else { return };
                listener.serve_raw(connection);
            }
        });
    }
}

impl Place {
    pub(super) fn listener(&self) -> &Rc<ActiveListener> {
        &self.listener
    }

    /// Notes the chain, so that the connection ends when its chain does.
    pub(super) fn set_chain(&self, chain: &Arc<FilterChain>) {
        if let Some(open) = self.listener.connections.borrow_mut().get_mut(self.key) {
            open.chain = Some(Arc::clone(chain));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Dropped after the borrow: the chain may go with it, and what its filters do then is up to them.
        let _gone = self.listener.connections.borrow_mut().try_remove(self.key);
        self.listener.total.leave();
    }
}
