//! A pool: the connections of one worker to one host that may serve each other's requests.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use tokio::sync::oneshot;
use underpass_core::{
    cluster::{Cluster, Host, LoadBalancerContext, PoolFailure, PoolFailureReason, UpstreamConnection},
    stream_info::SharedStreamInfo,
};

use super::{
    accounting::{ConnectionState, PendingHold, StreamHold},
    http1::{self, Http1Client},
    http2::{self, Http2Client, Http2Place},
    pools::PoolRequest,
    protocol::Protocol,
    stream::{Place, PooledStream},
};
use crate::protocol_options::ClusterProtocolOptions;

/// What keeps connections apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolKey {
    pub(super) protocol: Protocol,
    pub(super) high_priority: bool,
    /// What the transport socket adds.
    pub(super) extra: Vec<u8>,
}

/// A pool. Its connections know it by weak references.
pub(super) struct Pool {
    pub(super) key: PoolKey,
    pub(super) settings: Arc<ClusterProtocolOptions>,
    cluster: Rc<dyn Cluster>,
    host: Arc<Host>,
    /// HTTP/1 connections without a request; the last one was used last.
    pub(super) idle: RefCell<VecDeque<http1::Idle>>,
    /// Wakes the task that watches them, if it runs.
    pub(super) idle_watch: RefCell<Option<Waker>>,
    /// HTTP/2 connections that take requests.
    pub(super) http2: RefCell<Vec<Rc<Http2Client>>>,
    pending: RefCell<VecDeque<Pending>>,
    /// Numbers those who wait.
    last_pending: Cell<u64>,
    /// Connections on their way.
    connecting: Cell<usize>,
    /// Connections that are open.
    open: Cell<usize>,
    draining: Cell<bool>,
}

/// Somebody who waits.
struct Pending {
    id: u64,
    hold: PendingHold,
    downstream: Option<SharedStreamInfo>,
    sender: oneshot::Sender<Result<PooledStream, PoolFailure>>,
}

impl Pool {
    pub(super) fn new(
        key: PoolKey,
        cluster: &Rc<dyn Cluster>,
        host: &Arc<Host>,
        settings: &Arc<ClusterProtocolOptions>,
    ) -> Rc<Self> {
        Rc::new(Self {
            key,
            settings: Arc::clone(settings),
            cluster: Rc::clone(cluster),
            host: Arc::clone(host),
            idle: RefCell::default(),
            idle_watch: RefCell::default(),
            http2: RefCell::default(),
            pending: RefCell::default(),
            last_pending: Cell::new(0),
            connecting: Cell::new(0),
            open: Cell::new(0),
            draining: Cell::new(false),
        })
    }

    /// Takes a place, as soon as there is one.
    pub(super) async fn acquire(self: &Rc<Self>, request: &PoolRequest) -> Result<PooledStream, PoolFailure> {
        if self.pending.borrow().is_empty()
            && let Some(place) = self.take_ready()
        {
            return self.attach(place);
        }
        let hold = PendingHold::new(self.cluster.info(), &self.host, self.key.high_priority)?;
        let id = self.last_pending.get() + 1;
        self.last_pending.set(id);
        let (sender, receiver) = oneshot::channel();
        let pending = Pending { id, hold, downstream: request.downstream.clone(), sender };
        self.pending.borrow_mut().push_back(pending);
        self.connect_as_needed();
        let waiting = Waiting { pool: self, id };
        let outcome = receiver.await;
        drop(waiting);
        outcome.unwrap_or_else(|_| Err(self.failure(PoolFailureReason::LocalConnectionFailure)))
    }

    /// Begins a request on a connection.
    fn attach(self: &Rc<Self>, place: Place) -> Result<PooledStream, PoolFailure> {
        match StreamHold::new(place.connection(), self.key.high_priority) {
            Ok(hold) => {
                if let Some(max) = self.settings.common.max_requests_per_connection
                    && place.connection().requests() == max
                {
                    self.cluster.info().stats.upstream_cx_max_requests.inc();
                    place.use_up();
                }
                Ok(PooledStream::new(place, hold))
            }
            Err(failure) => {
                self.put_back(place);
                Err(failure)
            }
        }
    }

    fn take_ready(self: &Rc<Self>) -> Option<Place> {
        match self.key.protocol {
            Protocol::Http1 => self.take_idle().map(Place::Http1),
            Protocol::Http2 => self.http2.borrow().iter().find_map(Http2Place::on).map(Place::Http2),
        }
    }

    /// A place that was taken and not used.
    fn put_back(self: &Rc<Self>, place: Place) {
        if let Place::Http1(client) = place {
            self.release(client);
        }
    }

    /// An HTTP/1 connection is free again.
    pub(super) fn release(self: &Rc<Self>, client: Box<Http1Client>) {
        if client.is_used_up() {
            return;
        }
        if let Some(pending) = self.next_pending() {
            self.serve(pending, Place::Http1(client));
        } else if !self.draining.get() {
            self.keep_idle(client);
        }
    }

    /// A request ended, which may have made room for another.
    pub(super) fn stream_ended(self: &Rc<Self>) {
        if self.key.protocol == Protocol::Http2 && !self.pending.borrow().is_empty() {
            self.serve_pending();
        }
    }

    /// A connection is gone, which may have made room for another.
    pub(super) fn connection_ended(self: &Rc<Self>) {
        self.open.set(self.open.get().saturating_sub(1));
        self.connect_as_needed();
    }

    /// Gives places to those who wait, as far as there are any.
    pub(super) fn serve_pending(self: &Rc<Self>) {
        while !self.pending.borrow().is_empty()
            && let Some(place) = self.take_ready()
        {
            match self.next_pending() {
                Some(pending) => self.serve(pending, place),
                None => self.put_back(place),
            }
        }
        self.connect_as_needed();
    }

    fn next_pending(&self) -> Option<Pending> {
        self.pending.borrow_mut().pop_front()
    }

    fn serve(self: &Rc<Self>, pending: Pending, place: Place) {
        let outcome = self.attach(place);
        pending.hold.ready();
        // Who is gone by now gives the place back by its drop.
        let _ = pending.sender.send(outcome);
    }

    /// How many more requests the connections on their way will take.
    fn connecting_capacity(&self) -> usize {
        let each = match self.key.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 => {
                let streams = self.settings.http2.max_concurrent_streams;
                let requests = self.settings.common.max_requests_per_connection.unwrap_or(u32::MAX);
                usize::try_from(streams.min(requests)).unwrap_or(usize::MAX)
            }
        };
        self.connecting.get().saturating_mul(each)
    }

    /// Opens connections for those who wait (Envoy, `ConnPoolImplBase::tryCreateNewConnections`).
    fn connect_as_needed(self: &Rc<Self>) {
        while self.pending.borrow().len() > self.connecting_capacity() {
            let has_any = self.open.get() + self.connecting.get() > 0;
            if !self.cluster.may_open(&self.host, self.key.high_priority) && has_any {
                return;
            }
            self.connect();
        }
    }

    fn connect(self: &Rc<Self>) {
        let index = self.connecting_capacity();
        let downstream = {
            let pending = self.pending.borrow();
            pending.get(index).or(pending.front()).and_then(|pending| pending.downstream.clone())
        };
        self.connecting.set(self.connecting.get() + 1);
        let pool = Rc::clone(self);
        let mut connecting = Box::pin(async move {
            let context = LoadBalancerContext {
                downstream: downstream.as_deref(),
                high_priority: pool.key.high_priority,
                ..LoadBalancerContext::default()
            };
            let outcome = pool.cluster.open(&pool.host, &context).await;
            pool.connecting.set(pool.connecting.get() - 1);
            match outcome {
                Ok(connection) => pool.connected(connection).await,
                Err(failure) => {
                    if failure.reason != PoolFailureReason::ConnectionOverflow {
                        pool.key.protocol.count_connection(&pool.cluster.info().stats);
                    }
                    pool.connect_failed(&failure);
                }
            }
        });
        // Its first step counts the connection, which must be so before anybody asks the circuit breakers again.
        if connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(connecting);
        }
    }

    async fn connected(self: &Rc<Self>, connection: UpstreamConnection) {
        self.open.set(self.open.get() + 1);
        let (state, io) = ConnectionState::new(connection, self.key.protocol, self);
        let opened = match self.key.protocol {
            Protocol::Http1 => {
                self.release(Http1Client::new(io, state, &self.settings));
                Some(())
            }
            Protocol::Http2 => {
                let client = http2::open(io, state, self).await.ok();
                client.map(|client| {
                    self.http2.borrow_mut().push(Rc::clone(&client));
                    self.serve_pending();
                    if self.draining.get() {
                        client.drain();
                    }
                })
            }
        };
        if opened.is_none() {
            self.connect_failed(&self.failure(PoolFailureReason::RemoteConnectionFailure));
        }
    }

    /// As in Envoy, everybody who waits is told, so that nobody waits for a host that refuses.
    fn connect_failed(self: &Rc<Self>, failure: &PoolFailure) {
        while let Some(pending) = self.next_pending() {
            pending.hold.failed();
            let _ = pending.sender.send(Err(PoolFailure {
                reason: failure.reason,
                transport_failure_reason: failure.transport_failure_reason.clone(),
                host: Some(Arc::clone(&self.host)),
            }));
        }
    }

    fn failure(&self, reason: PoolFailureReason) -> PoolFailure {
        PoolFailure { reason, transport_failure_reason: None, host: Some(Arc::clone(&self.host)) }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Lets go of connections as soon as they carry no requests.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
        self.wake_idle_watch();
        let clients = std::mem::take(&mut *self.http2.borrow_mut());
        clients.iter().for_each(Http2Client::drain);
    }

    /// Takes an HTTP/2 connection out: it takes no more requests.
    pub(super) fn forget(&self, client: &Rc<Http2Client>) {
        self.http2.borrow_mut().retain(|other| !Rc::ptr_eq(other, client));
    }

    pub(super) fn wake_idle_watch(&self) {
        if let Some(waker) = self.idle_watch.take() {
            waker.wake();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.wake_idle_watch();
    }
}

/// Takes somebody who does not wait any more out of the queue.
struct Waiting<'a> {
    pool: &'a Pool,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let gone = {
            let mut pending = self.pool.pending.borrow_mut();
            // They are in the order of their numbers.
            match pending.binary_search_by_key(&self.id, |pending| pending.id) {
                Ok(index) => pending.remove(index),
                Err(_) => None,
            }
        };
        drop(gone);
    }
}
