//! Upstream clusters as extensions see them: pick a host, connect, and be told how it went.
//!
//! The engine implements these traits. A [`ClusterManager`] belongs to one worker; a [`Cluster`] is its view of one
//! version of a cluster. Circuit breakers and stats are shared by all workers.

mod circuit_breakers;
mod host;
mod traffic_stats;

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

pub use self::{
    circuit_breakers::{CircuitBreakers, Limits, Resource, ResourceHold, RetryBudget, Thresholds},
    host::{Health, HealthFlag, Host, HostId, HostMonitor, HostStats, Locality, Outcome},
    traffic_stats::TrafficStats,
};

use crate::{
    address::Address,
    client_connection::SocketSetup,
    config::{Metadata, Value},
    connection::BoxFuture,
    formatter::Headers,
    io::BoxIo,
    protocol_options::ProtocolOptions,
    server::Singletons,
    stats::Scope,
    stream_info::StreamInfo,
    transport_socket::UpstreamTransportSocket,
};

/// The clusters of one worker.
pub trait ClusterManager {
    /// The present version of a cluster, if it exists and is warm.
    fn cluster(&self, name: &str) -> Option<Rc<dyn Cluster>>;

    /// Completes when a cluster of that name is added, changed or removed.
    fn changed<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
}

/// Whether the process has a cluster of a name, be it in use or not. The engine leaves it in the process's singletons.
pub struct KnownClusters(pub Box<dyn Fn(&str) -> bool + Send + Sync>);

/// One version of a cluster, on one worker.
pub trait Cluster {
    /// What all workers share of it.
    fn info(&self) -> &Arc<ClusterInfo>;

    /// Picks a host. `None` when no host is available (`upstream_cx_none_healthy` is counted).
    fn choose_host(&self, context: &LoadBalancerContext<'_>) -> Option<Arc<Host>>;

    /// Asks the circuit breakers whether a pool may open a connection to a host. `upstream_cx_overflow` is counted if not.
    /// A pool without any connection may open one all the same, since nothing of its own could make room.
    fn may_open(&self, host: &Host, high_priority: bool) -> bool {
        let _ = (host, high_priority);
        true
    }

    /// Opens a connection to a host, for a pool that [may](Self::may_open): counts connections, not requests.
    fn open<'a>(
        &'a self,
        host: &'a Arc<Host>,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>>;

    /// Picks a host and opens a connection for one stream of bytes, as Envoy's TCP pool does: counts it as a
    /// connection and as a request, and asks the circuit breakers.
    fn open_tcp<'a>(
        &'a self,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>>;
}

/// What all workers share of one version of a cluster.
pub struct ClusterInfo {
    /// The cluster's name.
    pub name: Arc<str>,
    /// The name in stats: `alt_stat_name`, or the name.
    pub observability_name: Arc<str>,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How many bytes a connection may buffer in each direction.
    pub buffer_limit: usize,
    /// The scope `cluster.<name>`.
    pub scope: Scope,
    /// Its stats, resolved.
    pub stats: TrafficStats,
    /// How much it may have of everything.
    pub circuit_breakers: CircuitBreakers,
    /// What wraps its connections, TLS for example.
    pub transport_socket: Option<Arc<dyn UpstreamTransportSocket>>,
    /// What it wants of its kernel sockets.
    pub socket_setup: Option<Arc<dyn SocketSetup>>,
    /// Whether its load balancer goes by [`LoadBalancerContext::hash`].
    pub balances_by_hash: bool,
    /// What other crates want to know of it, to speak their protocol to it.
    pub protocol_options: ProtocolOptions,
    /// Things that other crates keep once per version of the cluster.
    pub kept: Singletons,
    /// Where the HTTP building blocks keep the stats of its answers, once there is one.
    pub response_stats: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl ClusterInfo {
    /// A cluster with Envoy's defaults; `stats` is the root of all stats.
    pub fn new(name: impl Into<Arc<str>>, stats: &Scope) -> Self {
        let name = name.into();
        let scope = stats.scope(&format!("cluster.{name}"));
        Self {
            observability_name: Arc::clone(&name),
            name,
            metadata: Metadata::default(),
            connect_timeout: Duration::from_secs(5),
            buffer_limit: 1024 * 1024,
            stats: TrafficStats::new(&scope),
            circuit_breakers: CircuitBreakers::new(&scope, Limits::default(), Limits::default()),
            transport_socket: None,
            socket_setup: None,
            balances_by_hash: false,
            scope,
            protocol_options: ProtocolOptions::default(),
            kept: Singletons::default(),
            response_stats: OnceLock::new(),
        }
    }
}

impl fmt::Debug for ClusterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterInfo").field(&self.name).finish()
    }
}

/// On whose behalf a host is picked, and by what.
#[derive(Default, Clone, Copy)]
pub struct LoadBalancerContext<'a> {
    /// The hash of a hash policy, for ring hash and maglev.
    pub hash: Option<u64>,
    /// What a host's `envoy.lb` metadata must hold (subset load balancing).
    pub metadata_match: Option<&'a BTreeMap<String, Value>>,
    /// The stream.
    pub downstream: Option<&'a StreamInfo>,
    /// The connection that carries the stream, where that is another: for HTTP requests.
    pub downstream_connection: Option<&'a StreamInfo>,
    /// The headers of the request, where it is an HTTP request.
    pub headers: Option<&'a dyn Headers>,
    /// Which circuit breaker counts.
    pub high_priority: bool,
}

/// A connection to a host, ready for use.
pub struct UpstreamConnection {
    /// The bytes, transport socket included.
    pub io: BoxIo,
    /// The host.
    pub host: Arc<Host>,
    /// The cluster.
    pub cluster: Arc<ClusterInfo>,
    /// This end.
    pub local_address: Option<Address>,
    /// The peer's end.
    pub remote_address: Address,
    /// Its number.
    pub connection_id: u64,
    /// Holds gauges and circuit breakers.
    pub lease: Box<dyn ConnectionLease>,
}

/// Keeps a connection counted. Dropping it counts a local close.
pub trait ConnectionLease {
    /// Ends the lease and says who closed the connection.
    fn close(self: Box<Self>, by: ClosedBy);

    /// The same of a connection that carried requests when it ended, for pools that know.
    fn close_with_request(self: Box<Self>, by: ClosedBy) {
        self.close(by);
    }
}

/// Who closed an upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// This proxy.
    Local,
    /// The host.
    Remote,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[error("{reason}{}", .transport_failure_reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
pub struct PoolFailure {
    /// What kind of failure.
    pub reason: PoolFailureReason,
    /// In Envoy's words with underscores for spaces, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`:
    /// `delayed_connect_error:_Connection_refused`.
    pub transport_failure_reason: Option<String>,
    /// The host that was tried, if one was picked.
    pub host: Option<Arc<Host>>,
}

/// The kinds of failure; who failed decides flags and retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolFailureReason {
    /// No host is available.
    #[error("no healthy upstream")]
    NoHealthyHost,
    /// The circuit breaker `max_connections` refused, before a host was picked. `upstream_cx_overflow` is counted, and
    /// nobody tries again.
    #[error("connection overflow")]
    ConnectionOverflow,
    /// The circuit breaker `max_pending_requests` or `max_requests` refused. `upstream_rq_pending_overflow` is counted;
    /// for retries it is a failed attempt like any other.
    #[error("overflow")]
    PendingOverflow,
    /// This proxy could not connect (no descriptor, no local port).
    #[error("local connection failure")]
    LocalConnectionFailure,
    /// The host refused or went away.
    #[error("remote connection failure")]
    RemoteConnectionFailure,
    /// Connecting took longer than `connect_timeout`.
    #[error("connection timeout")]
    Timeout,
}
