//! What is known of one connection or request: addresses, times, bytes, how it ended, and what filters left on it.
//!
//! One [`StreamInfo`] is made when a connection is accepted and lives until its access logs are written. It belongs
//! to one worker, so its fields are cells: everybody on the connection's way holds the same `Rc`.

mod address_cell;
mod attempted;
mod moments;
mod on_demand;
mod upstream;
mod uuid;

use std::{
    borrow::Cow,
    cell::{Cell, Ref, RefCell},
    rc::Rc,
    sync::Arc,
    thread::LocalKey,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    address::Address,
    config::Metadata,
    filter_state::FilterState,
    metadata::DynamicMetadata,
    response_flags::{ResponseFlag, ResponseFlags},
};

pub use address_cell::AddressCell;
pub use moments::{DurationCell, InstantCell, Moment};
pub use on_demand::OnDemand;
use on_demand::{Recycled, Shelf};
pub use upstream::{UpstreamDetails, UpstreamInfo};
pub(crate) use uuid::Uuid;

/// Who ended a connection, and how; `%DOWNSTREAM_DETECTED_CLOSE_TYPE%` and its upstream twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DetectedClose {
    /// An orderly end, or none seen yet.
    #[default]
    Normal,
    /// This proxy sent a reset.
    LocalReset,
    /// The peer sent a reset.
    RemoteReset,
}

/// The facts about the listener that accepted a connection; shared by all its connections.
#[derive(Debug, Clone, Default)]
pub struct ListenerInfo {
    /// The listener's name.
    pub name: Arc<str>,
    /// The listener's static metadata.
    pub metadata: Arc<Metadata>,
    /// Which way its traffic goes.
    pub direction: TrafficDirection,
}

/// A listener's `traffic_direction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// Into this host.
    Inbound,
    /// Out of this host.
    Outbound,
}

/// Downstream addresses. `remote` and `local` may be replaced by listener filters; the `direct` ones never are.
#[derive(Debug, Clone)]
pub struct DownstreamAddresses {
    /// Who the connection is from, as far as is known.
    remote: Address,
    /// Where it was meant to go.
    local: Address,
    /// The socket's own, peer first, once one above was replaced.
    direct: Option<Box<(Address, Address)>>,
}

impl DownstreamAddresses {
    /// Those of a socket.
    pub fn new(remote: Address, local: Address) -> Self {
        Self { remote, local, direct: None }
    }

    /// Who the connection is from, as far as is known.
    pub fn remote(&self) -> &Address {
        &self.remote
    }

    /// Where it was meant to go.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The peer of the socket.
    pub fn direct_remote(&self) -> &Address {
        self.direct.as_ref().map_or(&self.remote, |direct| &direct.0)
    }

    /// This end of the socket.
    pub fn direct_local(&self) -> &Address {
        self.direct.as_ref().map_or(&self.local, |direct| &direct.1)
    }

    /// Says who the connection is from.
    pub fn set_remote(&mut self, remote: Address) {
        self.keep_direct();
        self.remote = remote;
    }

    /// Says where it was meant to go.
    pub fn set_local(&mut self, local: Address) {
        self.keep_direct();
        self.local = local;
    }

    fn keep_direct(&mut self) {
        self.direct.get_or_insert_with(|| Box::new((self.remote.clone(), self.local.clone())));
    }
}

/// What is known of one connection or request.
#[derive(Debug)]
pub struct StreamInfo {
    /// The number of the downstream connection, unique in this process.
    pub connection_id: u64,
    /// When it was accepted, on the wall clock: nanoseconds after 1970.
    start_time: u64,
    /// When it was accepted, on the monotonic clock.
    start: Moment,
    /// The listener that accepted it.
    pub listener: Arc<ListenerInfo>,
    /// How many internal listeners the connection came through; 0 for a kernel socket.
    pub internal_hops: Cell<u32>,
    /// Downstream addresses.
    pub addresses: RefCell<DownstreamAddresses>,
    /// Whether a listener filter put back the original destination (`use_original_dst` and `original_dst`).
    pub local_address_restored: Cell<bool>,
    /// Whether a filter gave the stream a random id, which is made when [`stream_id`](Self::stream_id) is first asked for.
    pub has_random_id: Cell<bool>,
    /// The name of the filter chain that was chosen.
    pub filter_chain_name: RefCell<Option<Arc<str>>>,
    /// Payload bytes received from the downstream.
    pub bytes_received: Cell<u64>,
    /// Payload bytes sent to the downstream.
    pub bytes_sent: Cell<u64>,
    /// Why the stream ended as it did.
    pub flags: Cell<ResponseFlags>,
    /// Whether the request is a health check of this process.
    pub health_check: Cell<bool>,
    /// The HTTP status, where there is one.
    pub response_code: Cell<Option<u16>>,
    /// How the downstream connection ended.
    pub downstream_detected_close: Cell<DetectedClose>,
    /// How long it took, once it is complete.
    pub completed_after: DurationCell,
    /// What filters learned.
    pub dynamic_metadata: RefCell<DynamicMetadata>,
    /// What filters left for each other.
    pub filter_state: RefCell<FilterState>,
    /// The upstream side.
    pub upstream: UpstreamInfo,
    /// What few connections have.
    pub details: OnDemand<StreamDetails>,
}

/// What listener filters find, what HTTP knows of a request, and the words for unusual ends: few connections need the memory.
#[derive(Debug, Default)]
pub struct StreamDetails {
    /// The server name the client asked for (SNI).
    pub requested_server_name: RefCell<Option<Arc<str>>>,
    /// `tls`, `raw_buffer`: what a listener filter found the client to speak.
    pub detected_transport_protocol: RefCell<Option<Arc<str>>>,
    /// What the client offered (ALPN), or what a listener filter found.
    pub application_protocols: RefCell<Vec<Arc<str>>>,
    /// The route's name, where there are routes.
    pub route_name: RefCell<Option<Arc<str>>>,
    /// The metadata of the route, where there are routes and it has any.
    pub route_metadata: RefCell<Option<Arc<Metadata>>>,
    /// The metadata of the route's virtual host, if it has any.
    pub virtual_host_metadata: RefCell<Option<Arc<Metadata>>>,
    /// What decided the response, in Envoy's words.
    pub response_code_details: RefCell<Option<Cow<'static, str>>>,
    /// What ended the connection, in the words of the filter that ended it.
    pub connection_termination_details: RefCell<Option<String>>,
    /// Why the downstream transport failed.
    pub downstream_transport_failure_reason: RefCell<Option<String>>,
    /// Why this proxy closed the downstream connection, in Envoy's words (`tcp_session_idle_timeout`).
    pub downstream_local_close_reason: RefCell<Option<Cow<'static, str>>>,
    /// The application protocol in use (`HTTP/1.1`), where there is one.
    pub protocol: Cell<Option<&'static str>>,
    /// Identifies the stream in logs, where a filter gave it one; read it with [`StreamInfo::stream_id`].
    pub stream_id: RefCell<Option<String>>,
    /// When the last byte of a request was received.
    pub last_byte_received: Cell<Option<Instant>>,
    /// When the first byte of the response was sent.
    pub first_byte_sent: Cell<Option<Instant>>,
    /// When the last byte of the response was sent.
    pub last_byte_sent: Cell<Option<Instant>>,
    /// Bytes of headers received and sent, which the wire carries beside the payload.
    pub header_bytes: (Cell<u64>, Cell<u64>),
}

impl Recycled for StreamDetails {
    fn shelf() -> &'static LocalKey<Shelf<Self>> {
        thread_local! { static SHELF: Shelf<StreamDetails> = Shelf::default(); }
        &SHELF
    }
}

impl StreamDetails {
    /// What a request inherits from its connection.
    fn for_request(&self) -> Self {
        Self {
            requested_server_name: self.requested_server_name.clone(),
            detected_transport_protocol: self.detected_transport_protocol.clone(),
            application_protocols: self.application_protocols.clone(),
            downstream_transport_failure_reason: self.downstream_transport_failure_reason.clone(),
            protocol: self.protocol.clone(),
            ..Self::default()
        }
    }
}

impl StreamInfo {
    /// What identifies the stream in logs: the id that a filter gave it, or one that is made when somebody first asks.
    pub fn stream_id(&self) -> Ref<'_, str> {
        let id = &self.details.stream_id;
        if id.borrow().is_none() {
            *id.borrow_mut() = Some(Uuid::random().to_string());
        }
        Ref::map(id.borrow(), |id| id.as_deref().unwrap_or_default())
    }

    /// Whether a filter gave the stream an id, made or yet to be made.
    pub fn has_id(&self) -> bool {
        self.has_random_id.get()
            || self.details.get().is_some_and(|details| details.stream_id.borrow().is_some())
    }

    /// A stream that starts now.
    pub fn new(connection_id: u64, listener: Arc<ListenerInfo>, remote: Address, local: Address) -> Self {
        Self {
            connection_id,
            start_time: moments::wall_clock(),
            start: Moment::now(),
            listener,
            internal_hops: Cell::new(0),
            addresses: RefCell::new(DownstreamAddresses::new(remote, local)),
            local_address_restored: Cell::new(false),
            has_random_id: Cell::new(false),
            filter_chain_name: RefCell::default(),
            bytes_received: Cell::new(0),
            bytes_sent: Cell::new(0),
            flags: Cell::default(),
            health_check: Cell::new(false),
            response_code: Cell::new(None),
            downstream_detected_close: Cell::default(),
            completed_after: DurationCell::default(),
            dynamic_metadata: RefCell::default(),
            filter_state: RefCell::default(),
            upstream: UpstreamInfo::default(),
            details: OnDemand::default(),
        }
    }

    /// A request that starts now on this connection: it knows what is known of the connection, and starts without bytes,
    /// flags and an ending of its own.
    #[must_use]
    pub fn for_request(&self) -> Self {
        let details = OnDemand::<StreamDetails>::default();
        if let Some(of_connection) = self.details.get() {
            details.fill(of_connection.for_request());
        }
        Self {
            connection_id: self.connection_id,
            start_time: moments::wall_clock(),
            start: Moment::now(),
            listener: Arc::clone(&self.listener),
            internal_hops: self.internal_hops.clone(),
            addresses: self.addresses.clone(),
            local_address_restored: self.local_address_restored.clone(),
            has_random_id: Cell::new(false),
            filter_chain_name: self.filter_chain_name.clone(),
            bytes_received: Cell::new(0),
            bytes_sent: Cell::new(0),
            flags: Cell::default(),
            health_check: Cell::new(false),
            response_code: Cell::new(None),
            downstream_detected_close: Cell::default(),
            completed_after: DurationCell::default(),
            dynamic_metadata: self.dynamic_metadata.clone(),
            filter_state: self.filter_state.clone(),
            upstream: UpstreamInfo::default(),
            details,
        }
    }

    /// When it was accepted, on the wall clock.
    pub fn start_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.start_time)
    }

    /// Moves its start on the wall clock, for tests that print it.
    #[must_use]
    pub fn starting_at(mut self, time: Duration) -> Self {
        self.start_time = moments::nanoseconds(time);
        self
    }

    /// When it was accepted, on the monotonic clock.
    pub fn start(&self) -> Instant {
        self.start.into()
    }

    /// Adds a response flag.
    pub fn set_flag(&self, flag: ResponseFlag) {
        let mut flags = self.flags.get();
        flags.insert(flag);
        self.flags.set(flags);
    }

    /// Notes that the stream is complete; the first call counts.
    pub fn complete(&self) {
        if self.completed_after.get().is_none() {
            self.completed_after.set(Some(Moment::now().since(self.start)));
        }
    }

    /// How long the stream took, or has taken so far.
    pub fn duration(&self) -> Duration {
        self.completed_after.get().unwrap_or_else(|| Moment::now().since(self.start))
    }

    /// Takes over what the previous hop handed on; the listener does this at accept, before listener filters run.
    pub fn merge(&self, passthrough: Passthrough) {
        self.internal_hops.set(passthrough.internal_hops);
        let mut metadata = self.dynamic_metadata.borrow_mut();
        if metadata.is_empty() {
            *metadata = passthrough.metadata;
        } else {
            for (namespace, values) in passthrough.metadata.iter() {
                metadata.merge(namespace.clone(), values.clone());
            }
        }
        self.filter_state.borrow_mut().merge(passthrough.filter_state);
    }
}

/// A stream's info, held by everybody on its way through one worker.
pub type SharedStreamInfo = Rc<StreamInfo>;

/// What the client half of a user-space socket hands to the internal listener, before the first byte.
#[derive(Debug, Default)]
pub struct Passthrough {
    /// Becomes dynamic metadata.
    pub metadata: DynamicMetadata,
    /// Becomes filter state.
    pub filter_state: FilterState,
    /// How many internal listeners the connection has come through, this one included.
    pub internal_hops: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> StreamInfo {
        let socket = |port| Address::Socket(([127, 0, 0, 1], port).into());
        StreamInfo::new(1, Arc::default(), socket(1), socket(2))
    }

    #[test]
    fn a_connection_that_is_only_relayed_takes_little_memory() {
        // Every connection has one, and one more for each internal hop.
        assert!(size_of::<StreamInfo>() <= 368, "{} bytes", size_of::<StreamInfo>());
    }

    #[test]
    fn details_exist_once_somebody_notes_one() {
        let info = info();
        assert!(info.details.get().is_none() && info.for_request().details.get().is_none());
        info.details.protocol.set(Some("HTTP/2"));
        *info.details.route_name.borrow_mut() = Some("r".into());
        let request = info.for_request();
        assert_eq!(request.details.protocol.get(), Some("HTTP/2"));
        assert_eq!(*request.details.route_name.borrow(), None, "a request has a route of its own");
    }

    #[test]
    fn the_addresses_of_the_socket_stay_when_filters_replace_others() {
        let info = info();
        let mut addresses = info.addresses.borrow_mut();
        assert_eq!(addresses.direct_local(), addresses.local());
        addresses.set_local(Address::internal("inner", ""));
        addresses.set_remote(Address::internal_client());
        assert_eq!(addresses.local().to_string(), "envoy://inner/");
        assert_eq!((addresses.direct_remote().port(), addresses.direct_local().port()), (Some(1), Some(2)));
    }
}
