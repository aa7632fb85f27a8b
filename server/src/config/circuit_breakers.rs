//! Limits on what a cluster may have open at once: `envoy.config.cluster.v3.CircuitBreakers`.

use serde::Deserialize;
use underpass_core::config::Percent;

/// Envoy's limit on connections, pending requests and requests, where nothing is set.
const LIMIT: u32 = 1024;
/// Envoy's limit on retries, where nothing is set.
const RETRIES: u32 = 3;

/// `envoy.config.cluster.v3.CircuitBreakers`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CircuitBreakers {
    /// The limits, at most one for each priority; of more, the first counts.
    pub thresholds: Vec<Thresholds>,
    /// Limits for each host; only `max_connections` of the default priority has a meaning here.
    pub per_host_thresholds: Vec<Thresholds>,
}

impl CircuitBreakers {
    /// The limits of a priority; Envoy's defaults where nothing is set.
    pub fn of(&self, priority: RoutingPriority) -> Thresholds {
        self.thresholds.iter().find(|each| each.priority == priority).cloned().unwrap_or_default()
    }

    /// How many connections each host may have; any number by default.
    pub fn max_connections_per_host(&self) -> u32 {
        let default = self.per_host_thresholds.iter().find(|each| each.priority == RoutingPriority::Default);
        default.and_then(|each| each.max_connections).unwrap_or(u32::MAX)
    }
}

/// `envoy.config.cluster.v3.CircuitBreakers.Thresholds`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// Whose limits these are.
    pub priority: RoutingPriority,
    /// Connections to all hosts.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests in progress.
    pub max_requests: Option<u32>,
    /// Retries in progress.
    pub max_retries: Option<u32>,
    /// Retries in progress in relation to requests; where it is set, `max_retries` has no say.
    pub retry_budget: Option<RetryBudget>,
    /// Connection pools; any number by default.
    pub max_connection_pools: Option<u32>,
    /// Whether there are gauges of how much is left.
    pub track_remaining: bool,
}

/// `envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RetryBudget {
    /// How many of a hundred requests may be retries; 20 unless set.
    pub budget_percent: Option<Percent>,
    /// How many retries there may be however few requests there are; 3 unless set.
    pub min_retry_concurrency: Option<u32>,
}

impl Thresholds {
    /// `max_connections`, 1024 by default.
    pub fn max_connections_or_default(&self) -> u32 {
        self.max_connections.unwrap_or(LIMIT)
    }

    /// `max_pending_requests`, 1024 by default.
    pub fn max_pending_requests_or_default(&self) -> u32 {
        self.max_pending_requests.unwrap_or(LIMIT)
    }

    /// `max_requests`, 1024 by default.
    pub fn max_requests_or_default(&self) -> u32 {
        self.max_requests.unwrap_or(LIMIT)
    }

    /// `max_retries`, 3 by default.
    pub fn max_retries_or_default(&self) -> u32 {
        self.max_retries.unwrap_or(RETRIES)
    }
}

/// `envoy.config.core.v3.RoutingPriority`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RoutingPriority {
    /// Most traffic.
    #[default]
    Default,
    /// What a route declares important.
    High,
}
