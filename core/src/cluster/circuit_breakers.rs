//! Circuit breakers: how much of everything a cluster may have at once, counted for the whole process.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>. Who wants something asks
//! [`has_room`](Resource::has_room) and then takes a [`hold`](Resource::hold). Between the two another worker may take the
//! last place, so a limit can be passed by a few, as in Envoy, where no worker waits for another either.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::stats::{Gauge, Scope};

/// The circuit breakers of a cluster, one set for each routing priority.
#[derive(Debug, Clone)]
pub struct CircuitBreakers {
    /// Of usual traffic.
    pub default: Thresholds,
    /// Of what a route declares important.
    pub high: Thresholds,
}

/// The limits of one routing priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Connections to all hosts.
    pub connections: u64,
    /// Requests, or streams of bytes, that wait for a connection.
    pub pending_requests: u64,
    /// Requests in progress.
    pub requests: u64,
    /// Retries in progress.
    pub retries: u64,
    /// Retries in progress in relation to requests; where it is set, `retries` has no say.
    pub retry_budget: Option<RetryBudget>,
    /// Connection pools.
    pub connection_pools: u64,
    /// Connections to each host.
    pub connections_per_host: u64,
    /// Whether there are gauges of how much is left.
    pub track_remaining: bool,
}

/// How many retries there may be in relation to requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// How many of a hundred requests, in progress or waiting, may be retries.
    pub percent: f64,
    /// How many retries there may be however few requests there are.
    pub min_concurrency: u64,
}

/// Envoy's defaults.
impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            pending_requests: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
            connection_pools: u64::MAX,
            connections_per_host: u64::MAX,
            track_remaining: false,
        }
    }
}

/// What is counted against the limits of one routing priority.
#[derive(Debug, Clone)]
pub struct Thresholds {
    /// The limits.
    pub limits: Limits,
    /// Connections to all hosts.
    pub connections: Resource,
    /// Requests, or streams of bytes, that wait for a connection.
    pub pending_requests: Resource,
    /// Requests in progress.
    pub requests: Resource,
    /// Retries in progress.
    pub retries: Resource,
    /// Connection pools.
    pub connection_pools: Resource,
}

impl CircuitBreakers {
    /// Circuit breakers with their gauges in the scope `cluster.<name>`.
    pub fn new(scope: &Scope, default: Limits, high: Limits) -> Self {
        let scope = scope.scope("circuit_breakers");
        Self {
            default: Thresholds::new(&scope.scope("default"), default),
            high: Thresholds::new(&scope.scope("high"), high),
        }
    }

    /// Those of a routing priority.
    pub fn of(&self, high_priority: bool) -> &Thresholds {
        if high_priority { &self.high } else { &self.default }
    }
}

impl Thresholds {
    /// Whether there may be one more retry.
    pub fn may_retry(&self) -> bool {
        let Some(budget) = self.limits.retry_budget else { return self.retries.has_room() };
        let requests = self.requests.in_use() + self.pending_requests.in_use();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and small"
        )]
        let share = (budget.percent / 100.0 * requests as f64) as u64;
        self.retries.in_use() < share.max(budget.min_concurrency)
    }

    fn new(scope: &Scope, limits: Limits) -> Self {
        let resource = |max: u64, open: &str, remaining: &str| {
            let remaining = limits.track_remaining.then(|| scope.gauge(remaining));
            Resource::new(max, scope.gauge(open), remaining)
        };
        Self {
            limits,
            connections: resource(limits.connections, "cx_open", "remaining_cx"),
            pending_requests: resource(limits.pending_requests, "rq_pending_open", "remaining_pending"),
            requests: resource(limits.requests, "rq_open", "remaining_rq"),
            retries: resource(limits.retries, "rq_retry_open", "remaining_retries"),
            connection_pools: resource(limits.connection_pools, "cx_pool_open", "remaining_cx_pools"),
        }
    }
}

/// One limited thing. Clones count against the same limit.
#[derive(Debug, Clone)]
pub struct Resource(Arc<ResourceState>);

#[derive(Debug)]
struct ResourceState {
    max: u64,
    in_use: AtomicU64,
    /// 1 while the limit is reached.
    open: Gauge,
    /// How much is left.
    remaining: Option<Gauge>,
}

impl Resource {
    fn new(max: u64, open: Gauge, remaining: Option<Gauge>) -> Self {
        if let Some(remaining) = &remaining {
            remaining.add(max);
        }
        Self(Arc::new(ResourceState { max, in_use: AtomicU64::new(0), open, remaining }))
    }

    /// Whether the limit is not reached yet.
    pub fn has_room(&self) -> bool {
        self.in_use() < self.0.max
    }

    /// Takes one, whether there is room or not, until the returned value is dropped.
    pub fn hold(&self) -> ResourceHold {
        self.0.take();
        ResourceHold(Arc::clone(&self.0))
    }

    /// Takes one as [`hold`](Self::hold) does, for who remembers to [release](Self::release) it.
    pub fn take(&self) {
        self.0.take();
    }

    /// Gives back one that was taken.
    pub fn release(&self) {
        self.0.release();
    }

    /// How many are taken.
    pub fn in_use(&self) -> u64 {
        self.0.in_use.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn max(&self) -> u64 {
        self.0.max
    }
}

impl ResourceState {
    // Gauges move with the transitions that this very call made, so that they are right whatever other workers do.
    fn take(&self) {
        let before = self.in_use.fetch_add(1, Ordering::Relaxed);
        if before + 1 == self.max.max(1) {
            self.open.inc();
        } else {
            // As in Envoy, the gauge counts as used from now on.
            self.open.touch();
        }
        if let Some(remaining) = self.remaining.as_ref().filter(|_| before < self.max) {
            remaining.dec();
        }
    }

    fn release(&self) {
        let before = self.in_use.fetch_sub(1, Ordering::Relaxed);
        if before == self.max.max(1) {
            self.open.dec();
        }
        if let Some(remaining) = self.remaining.as_ref().filter(|_| before <= self.max) {
            remaining.inc();
        }
    }
}

impl Drop for ResourceState {
    fn drop(&mut self) {
        if let Some(remaining) = &self.remaining {
            remaining.sub(self.max);
        }
    }
}

/// One that counts against a [`Resource`] as long as this value lives.
#[derive(Debug)]
#[must_use = "it counts only as long as it lives"]
pub struct ResourceHold(Arc<ResourceState>);

impl Drop for ResourceHold {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Store;

    fn breakers(store: &Store, limits: Limits) -> CircuitBreakers {
        CircuitBreakers::new(&store.scope("cluster.up"), limits, Limits::default())
    }

    fn gauge(store: &Store, name: &str) -> u64 {
        store.scope("cluster.up.circuit_breakers.default").gauge(name).value()
    }

    #[test]
    fn a_limit_shows_when_it_is_reached_and_when_there_is_room_again() {
        let store = Store::new(1);
        let breakers = breakers(&store, Limits { connections: 2, ..Limits::default() });
        let connections = &breakers.of(false).connections;
        let first = connections.hold();
        assert!(connections.has_room() && gauge(&store, "cx_open") == 0);
        let second = connections.hold();
        assert!(!connections.has_room() && gauge(&store, "cx_open") == 1);
        let third = connections.hold();
        assert_eq!((connections.in_use(), gauge(&store, "cx_open")), (3, 1));
        drop((first, third));
        assert!(connections.has_room() && gauge(&store, "cx_open") == 0);
        drop(second);
        assert_eq!(connections.in_use(), 0);
    }

    #[test]
    fn a_limit_of_zero_opens_with_the_first_that_is_taken_all_the_same() {
        let store = Store::new(1);
        let breakers = breakers(&store, Limits { requests: 0, ..Limits::default() });
        assert!(!breakers.default.requests.has_room());
        assert_eq!(gauge(&store, "rq_open"), 0);
        let holds = [breakers.default.requests.hold(), breakers.default.requests.hold()];
        assert_eq!(gauge(&store, "rq_open"), 1);
        drop(holds);
        assert_eq!(gauge(&store, "rq_open"), 0);
    }

    #[test]
    fn a_retry_budget_is_a_share_of_the_requests() {
        let store = Store::new(1);
        let retry_budget = Some(RetryBudget { percent: 20.0, min_concurrency: 2 });
        let breakers = breakers(&store, Limits { retry_budget, ..Limits::default() }).default;
        let mut retries = vec![breakers.retries.hold()];
        assert!(breakers.may_retry());
        retries.push(breakers.retries.hold());
        assert!(!breakers.may_retry());
        let requests: Vec<_> = (0..15).map(|_| breakers.requests.hold()).collect();
        assert!(breakers.may_retry());
        drop(requests);
    }

    #[test]
    fn what_remains_is_never_less_than_nothing() {
        let store = Store::new(1);
        let limits = Limits { connections: 2, track_remaining: true, ..Limits::default() };
        let breakers = breakers(&store, limits);
        let remaining = || gauge(&store, "remaining_cx");
        let mut holds = Vec::new();
        let mut seen = vec![remaining()];
        for _ in 0..3 {
            holds.push(breakers.default.connections.hold());
            seen.push(remaining());
        }
        for hold in holds {
            drop(hold);
            seen.push(remaining());
        }
        assert_eq!(seen, [2, 1, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn remaining_gauges_of_an_old_version_go_with_its_last_connection() {
        let store = Store::new(1);
        let limits = Limits { connections: 5, track_remaining: true, ..Limits::default() };
        let old = breakers(&store, limits);
        let hold = old.default.connections.hold();
        let new = breakers(&store, Limits { connections: 7, ..limits });
        drop(old);
        assert_eq!(gauge(&store, "remaining_cx"), 4 + 7);
        drop(hold);
        assert_eq!(gauge(&store, "remaining_cx"), 7);
        drop(new);
    }
}
