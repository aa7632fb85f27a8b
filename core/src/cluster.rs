//! Upstream clusters as extensions see them: pick a host, connect, and be told how it went.
//!
//! The engine implements these traits. A [`ClusterManager`] belongs to one worker; a [`Cluster`] is its view of one
//! version of a cluster. Circuit breakers and stats are shared by all workers.

mod traffic_stats;

use std::{
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{Arc, atomic::AtomicU32, atomic::AtomicU64},
    time::Duration,
};

pub use traffic_stats::TrafficStats;

use crate::{
    address::Address,
    config::{Metadata, Value},
    connection::BoxFuture,
    io::BoxIo,
    stats::Scope,
    stream_info::StreamInfo,
};

/// The clusters of one worker.
pub trait ClusterManager {
    /// The present version of a cluster, if it exists and is warm.
    fn cluster(&self, name: &str) -> Option<Rc<dyn Cluster>>;

    /// Completes when a cluster of that name is added, changed or removed.
    fn changed<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
}

/// One version of a cluster, on one worker.
pub trait Cluster {
    /// What all workers share of it.
    fn info(&self) -> &Arc<ClusterInfo>;

    /// Picks a host. `None` when no host is available (`upstream_cx_none_healthy` is counted).
    fn choose_host(&self, context: &LoadBalancerContext<'_>) -> Option<Arc<Host>>;

    /// Opens a connection to a host, for a pool: counts connections, not requests.
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
    /// Protocol options of other crates, as they are in the configuration, by name.
    pub extension_protocol_options: BTreeMap<String, crate::config::RawTypedConfig>,
}

impl fmt::Debug for ClusterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterInfo").field(&self.name).finish()
    }
}

/// Identifies a host in this process; never used again.
pub type HostId = u64;

/// One upstream host. It survives updates that leave its address and metadata alone.
pub struct Host {
    /// Identifies it.
    pub id: HostId,
    /// Where to connect.
    pub address: Address,
    /// Further addresses of the same host, tried after the first.
    pub additional_addresses: Vec<Address>,
    /// Its name, where the configuration or DNS gave one.
    pub hostname: Arc<str>,
    /// The endpoint's metadata.
    pub metadata: Arc<Metadata>,
    /// Where it stands.
    pub locality: Arc<Locality>,
    /// Its priority, 0 is used first.
    pub priority: u32,
    /// Its weight among the hosts of its locality.
    pub weight: AtomicU32,
    /// Bits of [`HealthFlag`].
    pub health: AtomicU32,
    /// Its stats.
    pub stats: HostStats,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.id).field(&self.address).finish()
    }
}

/// Why a host is not healthy; bits in [`Host::health`]. Names are those of `/clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HealthFlag {
    /// An active health check failed.
    FailedActiveHealthCheck = 1,
    /// Outlier detection ejected it.
    FailedOutlierCheck = 1 << 1,
    /// The control plane says so.
    FailedEdsHealth = 1 << 2,
    /// The control plane says it is degraded.
    DegradedEdsHealth = 1 << 3,
    /// A health check says it is degraded.
    DegradedActiveHealthCheck = 1 << 4,
    /// It is being removed but still healthy.
    PendingDynamicRemoval = 1 << 5,
    /// It was not health-checked yet.
    PendingActiveHealthCheck = 1 << 6,
    /// The control plane says it drains.
    EdsStatusDraining = 1 << 7,
}

/// Counters of one host, as in `/clusters`.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the names are those of /clusters")]
pub struct HostStats {
    pub cx_active: AtomicU64,
    pub cx_connect_fail: AtomicU64,
    pub cx_total: AtomicU64,
    pub rq_active: AtomicU64,
    pub rq_error: AtomicU64,
    pub rq_success: AtomicU64,
    pub rq_timeout: AtomicU64,
    pub rq_total: AtomicU64,
}

/// Where hosts stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the configuration")]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
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
    /// In Envoy's words, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
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
