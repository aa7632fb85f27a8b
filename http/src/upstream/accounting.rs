//! What is counted for upstream connections and their streams, on every way out.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    rc::Weak,
    sync::{Arc, atomic::Ordering},
};

use underpass_core::{
    address::Address,
    cluster::{
        ClosedBy, ClusterInfo, ConnectionLease, Host, PoolFailure, PoolFailureReason, ResourceHold,
        UpstreamConnection,
    },
    io::BoxIo,
    stream_info::SharedStreamInfo,
    user_space_socket::RefusalNote,
};

use tokio::time::Instant;

use super::{pool::Pool, protocol::Protocol};
use crate::{
    codec_stats::ClusterCodecStats,
    reset::{ResetReason, StreamReset},
};

/// One upstream connection, as everybody who uses it sees it. Its end is counted when the last of them lets go.
pub(super) struct ConnectionState {
    pub(super) host: Arc<Host>,
    pub(super) cluster: Arc<ClusterInfo>,
    pub(super) local_address: Option<Address>,
    pub(super) remote_address: Address,
    pub(super) connection_id: u64,
    pub(super) protocol: Protocol,
    pub(super) codec_stats: Arc<ClusterCodecStats>,
    pool: Weak<Pool>,
    lease: RefCell<Option<Box<dyn ConnectionLease>>>,
    /// When it takes no more requests.
    pub(super) expires: Option<Instant>,
    /// Where the far end of a hop says why it gave up.
    refusal: Option<RefusalNote>,
    received: Cell<u64>,
    /// Its part of `upstream_cx_rx_bytes_buffered`: as in Envoy, what was read last.
    last_read: Cell<u64>,
    /// The request that all bytes belong to, where a connection carries one at a time.
    carried: RefCell<Option<SharedStreamInfo>>,
    closed_remotely: Cell<bool>,
    carries_tunnel: Cell<bool>,
    /// When its last request ended.
    pub(super) idle_since: Cell<Instant>,
    /// Requests in progress.
    active: Cell<usize>,
    /// Set when the connection ended below a request.
    ended_with_request: Cell<bool>,
    requests: Cell<u32>,
    protocol_error: Cell<bool>,
}

impl ConnectionState {
    /// Takes the accounts of a connection that was just opened, and its bytes, which whoever uses them counts.
    pub(super) fn new(
        connection: UpstreamConnection,
        protocol: Protocol,
        pool: &Rc<Pool>,
    ) -> (Rc<Self>, BoxIo) {
        let UpstreamConnection { io, host, cluster, local_address, remote_address, connection_id, lease } =
            connection;
        protocol.count_connection(&cluster.stats);
        let codec_stats = ClusterCodecStats::of(&cluster);
        match protocol {
            Protocol::Http1 => {
                codec_stats.http1();
            }
            Protocol::Http2 => codec_stats.http2().nghttp2_upstream_connections.inc(),
        }
        let state = Rc::new(Self {
            codec_stats,
            host,
            cluster,
            local_address,
            remote_address,
            connection_id,
            protocol,
            pool: Rc::downgrade(pool),
            lease: RefCell::new(Some(lease)),
            expires: pool.settings.common.connection_lifetime().map(|lifetime| Instant::now() + lifetime),
            refusal: io.refusal_note(),
            received: Cell::new(0),
            last_read: Cell::new(0),
            carried: RefCell::new(None),
            idle_since: Cell::new(Instant::now()),
            closed_remotely: Cell::new(false),
            carries_tunnel: Cell::new(false),
            active: Cell::new(0),
            ended_with_request: Cell::new(false),
            requests: Cell::new(0),
            protocol_error: Cell::new(false),
        });
        (state, io)
    }

    pub(super) fn pool(&self) -> Option<Rc<Pool>> {
        self.pool.upgrade()
    }

    /// Requests in progress.
    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    /// Whether it is too old for another request; counted, if so.
    pub(super) fn is_expired(&self) -> bool {
        let expired = self.expires.is_some_and(|expires| Instant::now() >= expires);
        if expired {
            self.cluster.stats.upstream_cx_max_duration_reached.inc();
        }
        expired
    }

    /// How many requests it has carried.
    pub(super) fn requests(&self) -> u32 {
        self.requests.get()
    }

    pub(super) fn note_received(&self, n: usize) {
        let n = n as u64;
        self.received.set(self.received.get() + n);
        self.cluster.stats.upstream_cx_rx_bytes_total.add(n);
        self.set_last_read(n);
        if let Some(info) = &*self.carried.borrow() {
            info.upstream.wire_bytes_received.set(info.upstream.wire_bytes_received.get() + n);
        }
    }

    fn set_last_read(&self, n: u64) {
        let before = self.last_read.replace(n);
        if before != n {
            // The difference may be negative; gauges count in two's complement.
            self.cluster.stats.upstream_cx_rx_bytes_buffered.add(n.wrapping_sub(before));
        }
    }

    /// How many bytes it has received.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    pub(super) fn note_sent(&self, n: usize) {
        let n = n as u64;
        self.cluster.stats.upstream_cx_tx_bytes_total.add(n);
        if let Some(info) = &*self.carried.borrow() {
            info.upstream.wire_bytes_sent.set(info.upstream.wire_bytes_sent.get() + n);
        }
    }

    /// The peer has finished sending. That is no close of a connection that carries a tunnel, whose other direction goes on.
    pub(super) fn note_remote_end(&self) {
        if !self.carries_tunnel.get() {
            self.note_remote_close();
        }
    }

    /// From now on each direction ends for itself.
    pub(super) fn note_tunnel(&self) {
        self.carries_tunnel.set(true);
    }

    pub(super) fn note_remote_close(&self) {
        self.closed_remotely.set(true);
    }

    /// Counts that the peer broke the protocol; once for a connection.
    pub(super) fn note_protocol_error(&self) {
        if !self.protocol_error.replace(true) {
            self.cluster.stats.upstream_cx_protocol_error.inc();
        }
    }

    /// Notes that the connection ended below its requests.
    pub(super) fn note_ended_with_request(&self) {
        self.ended_with_request.set(true);
    }

    /// The connection ended below a request: what that means for the request.
    pub(super) fn ended_with_request(&self, reason: ResetReason) -> StreamReset {
        self.ended_with_request.set(true);
        let refusal = self.refusal.as_ref().and_then(RefusalNote::get).cloned();
        StreamReset { refusal, ..reason.into() }
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.set_last_read(0);
        self.cluster.stats.upstream_rq_per_cx.record(u64::from(self.requests.get()));
        if let Some(lease) = self.lease.take() {
            let by = if self.closed_remotely.get() { ClosedBy::Remote } else { ClosedBy::Local };
            if self.ended_with_request.get() { lease.close_with_request(by) } else { lease.close(by) }
        }
        if let Some(pool) = self.pool() {
            pool.connection_ended();
        }
    }
}

/// A request on a connection.
pub(super) struct StreamHold {
    pub(super) connection: Rc<ConnectionState>,
    pub(super) info: Option<SharedStreamInfo>,
    /// Whether request and answer were complete.
    complete: Cell<bool>,
    received_before: u64,
    // Held for its drop.
    _breaker: ResourceHold,
}

impl StreamHold {
    /// Begins a request, if the circuit breaker lets it.
    pub(super) fn new(connection: &Rc<ConnectionState>, high_priority: bool) -> Result<Self, PoolFailure> {
        let ConnectionState { cluster, host, .. } = &**connection;
        let requests = &cluster.circuit_breakers.of(high_priority).requests;
        if !requests.has_room() {
            cluster.stats.upstream_rq_active_overflow.inc();
            return Err(PoolFailure {
                reason: PoolFailureReason::PendingOverflow,
                transport_failure_reason: None,
                host: Some(Arc::clone(host)),
            });
        }
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        host.stats.rq_total.fetch_add(1, Ordering::Relaxed);
        host.stats.rq_active.fetch_add(1, Ordering::Relaxed);
        if connection.protocol == Protocol::Http2 {
            connection.codec_stats.http2().streams_active.inc();
        }
        connection.active.set(connection.active.get() + 1);
        connection.requests.set(connection.requests.get() + 1);
        Ok(Self {
            connection: Rc::clone(connection),
            info: None,
            complete: Cell::new(false),
            received_before: connection.received.get(),
            _breaker: requests.hold(),
        })
    }

    /// From now on, wire bytes are noted there.
    pub(super) fn account_to(&mut self, info: &SharedStreamInfo) {
        info.upstream.wire_bytes_sent.set(0);
        info.upstream.wire_bytes_received.set(0);
        self.info = Some(Rc::clone(info));
        if self.connection.protocol == Protocol::Http1 {
            *self.connection.carried.borrow_mut() = Some(Rc::clone(info));
        }
    }

    /// Notes that request and answer are complete.
    pub(super) fn complete(&self) {
        self.complete.set(true);
    }

    /// How many bytes the connection has received since the request began.
    pub(super) fn received(&self) -> u64 {
        self.connection.received() - self.received_before
    }
}

impl Drop for StreamHold {
    fn drop(&mut self) {
        let ConnectionState { cluster, host, active, .. } = &*self.connection;
        cluster.stats.upstream_rq_active.dec();
        host.stats.rq_active.fetch_sub(1, Ordering::Relaxed);
        active.set(active.get() - 1);
        match self.connection.protocol {
            Protocol::Http1 => {
                *self.connection.carried.borrow_mut() = None;
                if !self.complete.get() {
                    // The connection is of no more use.
                    self.connection.note_ended_with_request();
                }
            }
            Protocol::Http2 => {
                self.connection.codec_stats.http2().streams_active.dec();
                if active.get() == 0 {
                    self.connection.idle_since.set(Instant::now());
                }
            }
        }
        if let Some(pool) = self.connection.pool() {
            pool.stream_ended();
        }
    }
}

/// A request that waits for a connection. Dropping it without a word counts that nobody waits any more.
pub(super) struct PendingHold {
    cluster: Arc<ClusterInfo>,
    host: Arc<Host>,
    resolved: Cell<bool>,
    // Held for its drop.
    _breaker: ResourceHold,
}

impl PendingHold {
    /// Begins to wait, if the circuit breaker lets it.
    pub(super) fn new(
        cluster: &Arc<ClusterInfo>,
        host: &Arc<Host>,
        high_priority: bool,
    ) -> Result<Self, PoolFailure> {
        let pending = &cluster.circuit_breakers.of(high_priority).pending_requests;
        if !pending.has_room() {
            cluster.stats.upstream_rq_pending_overflow.inc();
            return Err(PoolFailure {
                reason: PoolFailureReason::PendingOverflow,
                transport_failure_reason: None,
                host: Some(Arc::clone(host)),
            });
        }
        cluster.stats.upstream_rq_pending_total.inc();
        cluster.stats.upstream_rq_pending_active.inc();
        host.stats.rq_pending_active.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            cluster: Arc::clone(cluster),
            host: Arc::clone(host),
            resolved: Cell::new(false),
            _breaker: pending.hold(),
        })
    }

    /// Its connection is there.
    pub(super) fn ready(self) {
        self.resolved.set(true);
    }

    /// Its connection failed.
    pub(super) fn failed(self) {
        self.resolved.set(true);
        self.cluster.stats.upstream_rq_pending_failure_eject.inc();
    }
}

impl Drop for PendingHold {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_pending_active.dec();
        self.host.stats.rq_pending_active.fetch_sub(1, Ordering::Relaxed);
        if !self.resolved.get() {
            self.cluster.stats.upstream_rq_cancelled.inc();
        }
    }
}
