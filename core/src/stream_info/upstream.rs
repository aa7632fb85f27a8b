//! What is known of the upstream side of a stream: the host, the connection to it, and what was tried before.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    num::NonZeroU64,
    sync::Arc,
    thread::LocalKey,
    time::Instant,
};

use super::{
    AddressCell, DetectedClose, DurationCell, InstantCell, OnDemand,
    attempted::Attempted,
    on_demand::{Recycled, Shelf},
};
use crate::{
    cluster::{ClusterInfo, Host},
    filter_state::FilterState,
};

/// What is known of the upstream side of a stream.
#[derive(Debug, Default)]
pub struct UpstreamInfo {
    /// The host that was chosen.
    pub host: RefCell<Option<Arc<Host>>>,
    /// The cluster that was chosen.
    pub cluster: RefCell<Option<Arc<ClusterInfo>>>,
    /// This proxy's end of the upstream connection.
    pub local_address: AddressCell,
    /// The peer's end.
    pub remote_address: AddressCell,
    /// The number of the upstream connection.
    pub connection_id: Cell<Option<NonZeroU64>>,
    /// Filter state that this stream shares with the upstream connection.
    pub filter_state: RefCell<FilterState>,
    /// How often connecting was tried.
    pub attempts: Cell<u32>,
    /// When connecting to the host began.
    pub connect_started: InstantCell,
    /// When the upstream connection was there.
    pub connected: InstantCell,
    /// How long it took until an upstream connection was there.
    pub connection_pool_ready: DurationCell,
    /// Bytes sent to the upstream on the wire, as far as this stream goes.
    pub wire_bytes_sent: Cell<u64>,
    /// Bytes received from the upstream on the wire.
    pub wire_bytes_received: Cell<u64>,
    /// How the upstream connection ended.
    pub detected_close: Cell<DetectedClose>,
    /// What few connections have.
    pub details: OnDemand<UpstreamDetails>,
}

/// What is known of the upstream side of an HTTP request, or of one that failed; few connections need the memory.
#[derive(Debug, Default)]
pub struct UpstreamDetails {
    /// The hosts that were tried, in turn. Empty where the first one was taken and no request needed the list.
    hosts_attempted: RefCell<Attempted<Arc<Host>>>,
    /// The numbers of the upstream connections that were used, in turn. Empty as above.
    connection_ids_attempted: RefCell<Attempted<u64>>,
    /// Why connecting or the transport failed, in Envoy's words (`delayed_connect_error:_Connection_refused`).
    pub transport_failure_reason: RefCell<Option<String>>,
    /// The application protocol spoken upstream (`HTTP/2`), where there is one.
    pub protocol: Cell<Option<&'static str>>,
    /// When the first byte of a request was sent.
    pub first_byte_sent: Cell<Option<Instant>>,
    /// When the last byte of a request was sent.
    pub last_byte_sent: Cell<Option<Instant>>,
    /// When the first byte of a response arrived.
    pub first_byte_received: Cell<Option<Instant>>,
    /// When the last byte of a response arrived.
    pub last_byte_received: Cell<Option<Instant>>,
    /// Why this proxy closed the upstream connection, in Envoy's words.
    pub local_close_reason: RefCell<Option<Cow<'static, str>>>,
}

impl UpstreamInfo {
    /// Notes the connection that is used now.
    pub fn note_connection(&self, host: &Arc<Host>, connection_id: u64) {
        *self.host.borrow_mut() = Some(Arc::clone(host));
        self.connection_id.set(NonZeroU64::new(connection_id));
        self.details.connection_ids_attempted.borrow_mut().push(connection_id);
    }

    /// Notes that a host was tried.
    pub fn note_attempt(&self, host: Arc<Host>) {
        self.details.hosts_attempted.borrow_mut().push(host);
    }

    /// Notes the one connection that a relayed stream has, and its host as tried. If it was the first to be tried, that takes no
    /// memory.
    pub fn note_only_connection(&self, host: Arc<Host>, connection_id: u64) {
        if self.details.get().is_some() {
            self.note_attempt(Arc::clone(&host));
            return self.note_connection(&host, connection_id);
        }
        *self.host.borrow_mut() = Some(host);
        self.connection_id.set(NonZeroU64::new(connection_id));
    }

    /// Lends the hosts that were tried, in turn; the last of them is `host`.
    pub fn with_hosts_attempted<R>(&self, act: impl FnOnce(&[Arc<Host>]) -> R) -> R {
        let noted = self.details.get().map(|details| details.hosts_attempted.borrow());
        match noted.filter(|noted| !noted.is_empty()) {
            Some(noted) => act(&noted),
            None => act(self.host.borrow().as_slice()),
        }
    }

    /// Lends the numbers of the upstream connections that were used, in turn.
    pub fn with_connection_ids_attempted<R>(&self, act: impl FnOnce(&[u64]) -> R) -> R {
        let noted = self.details.get().map(|details| details.connection_ids_attempted.borrow());
        match noted.filter(|noted| !noted.is_empty()) {
            Some(noted) => act(&noted),
            None => act(self.connection_id.get().map(NonZeroU64::get).as_slice()),
        }
    }
}

impl Recycled for UpstreamDetails {
    fn shelf() -> &'static LocalKey<Shelf<Self>> {
        thread_local! { static SHELF: Shelf<UpstreamDetails> = Shelf::default(); }
        &SHELF
    }
}
