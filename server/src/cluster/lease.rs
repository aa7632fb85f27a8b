//! Leases: what keeps an upstream connection counted from its first SYN to its end, on every way out.

use std::sync::{Arc, atomic::Ordering};

use underpass_core::{
    cluster::{ClosedBy, ClusterInfo, ConnectionLease, Host},
    stream_info::Moment,
};

use super::host_pool::PoolPlace;

/// A connection that is being opened or is open. Dropping it counts its end.
///
/// Every connection and every hop has one, so it holds the cluster and the host, and not each gauge and breaker by itself.
pub(super) struct Lease {
    cluster: Arc<ClusterInfo>,
    host: Arc<Host>,
    started: Moment,
    high_priority: bool,
    connect_failed: bool,
    closed_by: ClosedBy,
    ended_with_request: bool,
    /// Whether it carries the one request that a TCP connection carries.
    has_request: bool,
    _place: PoolPlace,
}

impl Lease {
    /// Counts a connection that is being opened.
    pub(super) fn new(
        cluster: &Arc<ClusterInfo>,
        host: &Arc<Host>,
        place: PoolPlace,
        high_priority: bool,
    ) -> Self {
        cluster.stats.upstream_cx_total.inc();
        host.stats.cx_total.fetch_add(1, Ordering::Relaxed);
        host.stats.cx_active.fetch_add(1, Ordering::Relaxed);
        cluster.stats.upstream_cx_active.inc();
        cluster.circuit_breakers.of(high_priority).connections.take();
        Self {
            cluster: Arc::clone(cluster),
            host: Arc::clone(host),
            started: Moment::now(),
            high_priority,
            connect_failed: false,
            closed_by: ClosedBy::Local,
            ended_with_request: false,
            has_request: false,
            _place: place,
        }
    }

    /// Counts that it is open.
    pub(super) fn connected(&self) {
        self.cluster.stats.upstream_cx_connect_ms.record(elapsed_ms(self.started));
    }

    /// Counts that it carries a request.
    pub(super) fn begin_request(&mut self) {
        self.cluster.stats.upstream_rq_total.inc();
        self.host.stats.rq_total.fetch_add(1, Ordering::Relaxed);
        self.host.stats.rq_active.fetch_add(1, Ordering::Relaxed);
        self.cluster.stats.upstream_rq_active.inc();
        self.cluster.circuit_breakers.of(self.high_priority).requests.take();
        self.has_request = true;
    }

    /// Ends it before it was open. One that is dropped in that state was given up, which is no failure of the host.
    pub(super) fn failed(mut self, by: ClosedBy) {
        self.connect_failed = true;
        self.closed_by = by;
    }
}

impl ConnectionLease for Lease {
    fn close(mut self: Box<Self>, by: ClosedBy) {
        self.closed_by = by;
    }

    fn close_with_request(mut self: Box<Self>, by: ClosedBy) {
        self.closed_by = by;
        self.ended_with_request = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        stats.upstream_cx_length_ms.record(elapsed_ms(self.started));
        self.host.stats.cx_active.fetch_sub(1, Ordering::Relaxed);
        stats.upstream_cx_destroy.inc();
        if self.connect_failed {
            stats.upstream_cx_connect_fail.inc();
            self.host.stats.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
        }
        let with_request = self.has_request || self.ended_with_request;
        if with_request {
            stats.upstream_cx_destroy_with_active_rq.inc();
        }
        match self.closed_by {
            ClosedBy::Local => {
                stats.upstream_cx_destroy_local.inc();
                if with_request {
                    stats.upstream_cx_destroy_local_with_active_rq.inc();
                }
            }
            ClosedBy::Remote => {
                stats.upstream_cx_destroy_remote.inc();
                if with_request {
                    stats.upstream_cx_destroy_remote_with_active_rq.inc();
                }
            }
        }
        let breakers = self.cluster.circuit_breakers.of(self.high_priority);
        if self.has_request {
            self.host.stats.rq_active.fetch_sub(1, Ordering::Relaxed);
            stats.upstream_rq_active.dec();
            breakers.requests.release();
        }
        stats.upstream_cx_active.dec();
        breakers.connections.release();
    }
}

fn elapsed_ms(since: Moment) -> u64 {
    u64::try_from(Moment::now().since(since).as_millis()).unwrap_or(u64::MAX)
}

/// A stream that waits for its connection. Dropping it without a word counts that nobody waits any more.
pub(super) struct Pending<'a> {
    cluster: &'a ClusterInfo,
    host: &'a Host,
    high_priority: bool,
    resolved: bool,
}

impl<'a> Pending<'a> {
    /// Counts a stream that waits for a connection to a host.
    pub(super) fn new(cluster: &'a ClusterInfo, host: &'a Host, high_priority: bool) -> Self {
        cluster.stats.upstream_rq_pending_total.inc();
        host.stats.rq_pending_active.fetch_add(1, Ordering::Relaxed);
        cluster.stats.upstream_rq_pending_active.inc();
        cluster.circuit_breakers.of(high_priority).pending_requests.take();
        Self { cluster, host, high_priority, resolved: false }
    }

    /// Its connection is there.
    pub(super) fn ready(mut self) {
        self.resolved = true;
    }

    /// Its connection failed.
    pub(super) fn failed(mut self) {
        self.resolved = true;
        self.cluster.stats.upstream_rq_pending_failure_eject.inc();
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_pending_active.dec();
        self.cluster.circuit_breakers.of(self.high_priority).pending_requests.release();
        self.host.stats.rq_pending_active.fetch_sub(1, Ordering::Relaxed);
        if !self.resolved {
            self.cluster.stats.upstream_rq_cancelled.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_small() {
        // Every connection has one, and every hop.
        assert!(size_of::<Lease>() <= 40, "{} bytes", size_of::<Lease>());
    }
}
