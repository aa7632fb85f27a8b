//! Hosts: the members of a cluster.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{address::Address, config::Metadata};

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
    /// Bits of [`HealthFlag`]. The engine sets them and tells its balancers; everybody else only reads.
    pub health: AtomicU32,
    /// Its stats.
    pub stats: HostStats,
    /// Who hears of what becomes of connections and requests, if somebody wants to.
    pub monitor: OnceLock<Arc<dyn HostMonitor>>,
}

impl Host {
    /// A healthy host of weight 1 and priority 0, without name, metadata and locality.
    pub fn new(id: HostId, address: Address) -> Self {
        Self {
            id,
            address,
            additional_addresses: Vec::new(),
            hostname: "".into(),
            metadata: Arc::default(),
            locality: Arc::default(),
            priority: 0,
            weight: AtomicU32::new(1),
            health: AtomicU32::new(0),
            stats: HostStats::default(),
            monitor: OnceLock::new(),
        }
    }

    /// Its present weight.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: HealthFlag) -> bool {
        self.health.load(Ordering::Relaxed) & flag as u32 != 0
    }

    /// What all flags together mean for balancing.
    pub fn health(&self) -> Health {
        let flags = self.health.load(Ordering::Relaxed);
        if flags & HealthFlag::UNHEALTHY != 0 {
            Health::Unhealthy
        } else if flags & HealthFlag::DEGRADED != 0 {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }

    /// Whether it marks itself as a canary (`canary` in its `envoy.lb` metadata).
    pub fn is_canary(&self) -> bool {
        self.metadata.get("envoy.lb", &["canary"]).and_then(crate::config::Value::as_bool).unwrap_or(false)
    }

    /// Tells the monitor, if there is one, what became of an attempt to use this host.
    pub fn report(self: &Arc<Self>, outcome: Outcome) {
        if let Some(monitor) = self.monitor.get() {
            monitor.observe(self, outcome);
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.id).field(&self.address).finish()
    }
}

/// How well a host can be used, on the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Not, unless all others are as bad.
    Unhealthy,
    /// As second choice.
    Degraded,
    /// Without reserve.
    Healthy,
}

/// Why a host is not healthy; bits in [`Host::health`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HealthFlag {
    /// An active health check failed.
    FailedActiveHealthCheck = 1,
    /// Outlier detection ejected it.
    FailedOutlierCheck = 1 << 1,
    /// The control plane says so.
    FailedEdsHealth = 1 << 2,
    /// A health check says it is degraded.
    DegradedActiveHealthCheck = 1 << 3,
    /// The control plane says it is degraded.
    DegradedEdsHealth = 1 << 4,
    /// It is being removed but still healthy.
    PendingDynamicRemoval = 1 << 5,
    /// It was not health-checked yet.
    PendingActiveHealthCheck = 1 << 6,
    /// It asked to be left out for now.
    ExcludedByImmediateFailure = 1 << 7,
    /// An active health check ran out of time.
    ActiveHealthCheckTimeout = 1 << 8,
    /// The control plane says it drains.
    EdsStatusDraining = 1 << 9,
}

impl HealthFlag {
    /// Every flag, in the order in which `/clusters` prints them.
    pub const ALL: &'static [Self] = &[
        Self::FailedActiveHealthCheck,
        Self::FailedOutlierCheck,
        Self::FailedEdsHealth,
        Self::DegradedActiveHealthCheck,
        Self::DegradedEdsHealth,
        Self::PendingDynamicRemoval,
        Self::PendingActiveHealthCheck,
        Self::ExcludedByImmediateFailure,
        Self::ActiveHealthCheckTimeout,
        Self::EdsStatusDraining,
    ];

    /// The flags that make a host unhealthy.
    const UNHEALTHY: u32 = Self::FailedActiveHealthCheck as u32
        | Self::FailedOutlierCheck as u32
        | Self::FailedEdsHealth as u32
        | Self::EdsStatusDraining as u32;

    /// The flags that make a host second choice.
    const DEGRADED: u32 = Self::DegradedActiveHealthCheck as u32 | Self::DegradedEdsHealth as u32;

    /// The name in `/clusters`, where it follows a slash.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailedActiveHealthCheck => "failed_active_hc",
            Self::FailedOutlierCheck => "failed_outlier_check",
            Self::FailedEdsHealth => "failed_eds_health",
            Self::DegradedActiveHealthCheck => "degraded_active_hc",
            Self::DegradedEdsHealth => "degraded_eds_health",
            Self::PendingDynamicRemoval => "pending_dynamic_removal",
            Self::PendingActiveHealthCheck => "pending_active_hc",
            Self::ExcludedByImmediateFailure => "excluded_via_immediate_hc_fail",
            Self::ActiveHealthCheckTimeout => "active_hc_timeout",
            Self::EdsStatusDraining => "eds_status_draining",
        }
    }
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
    pub rq_pending_active: AtomicU64,
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

/// Hears of what becomes of connections and requests to hosts; outlier detection is one.
pub trait HostMonitor: Send + Sync {
    /// Takes note of one outcome. Runs on the worker that saw it, so it must not wait.
    fn observe(&self, host: &Arc<Host>, outcome: Outcome);
}

/// What became of an attempt to use a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A connection came about.
    Connected,
    /// The host refused, or the connection broke before it was of use.
    ConnectFailed,
    /// Connecting took longer than `connect_timeout`.
    ConnectTimeout,
    /// A request was answered with this HTTP status.
    Status(u16),
    /// A request failed without an answer.
    RequestFailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_with(flags: &[HealthFlag]) -> Host {
        let host = Host::new(1, Address::internal("a", ""));
        let bits = flags.iter().fold(0, |bits, flag| bits | *flag as u32);
        host.health.store(bits, Ordering::Relaxed);
        host
    }

    #[test]
    fn unhealthy_outweighs_degraded_which_outweighs_healthy() {
        assert_eq!(host_with(&[]).health(), Health::Healthy);
        assert_eq!(host_with(&[HealthFlag::PendingActiveHealthCheck]).health(), Health::Healthy);
        assert_eq!(host_with(&[HealthFlag::DegradedEdsHealth]).health(), Health::Degraded);
        let both = [HealthFlag::DegradedEdsHealth, HealthFlag::EdsStatusDraining];
        assert_eq!(host_with(&both).health(), Health::Unhealthy);
    }

    #[test]
    fn no_two_flags_share_a_bit() {
        let bits = HealthFlag::ALL.iter().fold(0, |bits: u32, flag| bits | *flag as u32);
        assert_eq!(bits.count_ones() as usize, HealthFlag::ALL.len());
    }
}
