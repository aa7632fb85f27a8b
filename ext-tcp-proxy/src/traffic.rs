//! Counting: what the relay moves goes into the stream info, the filter's stats and the cluster's stats.

use std::{cell::Cell, sync::Arc};

use underpass_core::{
    cluster::ClusterInfo,
    relay::{Accounting, Side},
    stats::Gauge,
    stream_info::SharedStreamInfo,
};

use crate::stats::TcpProxyStats;

/// Counts the client's side of one connection.
pub(crate) struct DownstreamTraffic {
    info: SharedStreamInfo,
    stats: Arc<TcpProxyStats>,
    last_read: Share,
    unwritten: Share,
}

impl DownstreamTraffic {
    pub(crate) fn new(info: SharedStreamInfo, stats: Arc<TcpProxyStats>) -> Self {
        Self { info, stats, last_read: Share::default(), unwritten: Share::default() }
    }

    /// `n` bytes, or the end of the stream, were read before there was an upstream connection.
    pub(crate) fn read_early(&self, n: u64) {
        self.stats.early_data_received_count_total.inc();
        if n > 0 {
            self.read(n);
        }
    }

    fn read(&self, n: u64) {
        add(&self.info.bytes_received, n);
        self.stats.downstream_cx_rx_bytes_total.add(n);
        self.last_read.set(&self.stats.downstream_cx_rx_bytes_buffered, n);
    }

    fn written(&self, n: u64) {
        self.stats.downstream_cx_tx_bytes_total.add(n);
    }

    fn set_unwritten(&self, n: u64) {
        self.unwritten.set(&self.stats.downstream_cx_tx_bytes_buffered, n);
    }
}

impl Drop for DownstreamTraffic {
    fn drop(&mut self) {
        self.last_read.set(&self.stats.downstream_cx_rx_bytes_buffered, 0);
        self.set_unwritten(0);
    }
}

/// Counts both sides of one relay. As in Envoy, what the logs show as sent is what was read from the other side, also when
/// the connection fails before it is written; the stats count what was written.
pub(crate) struct RelayTraffic {
    downstream: DownstreamTraffic,
    cluster: Arc<ClusterInfo>,
    /// Whether the bytes are those of an upstream connection, and flushed to it. Those of a tunnel are counted where they are on
    /// the wire.
    is_connection: bool,
    last_read: Share,
    unwritten: Share,
    /// Bytes read from the host and not yet written to the client.
    to_downstream: Cell<u64>,
    /// The other way.
    to_upstream: Cell<u64>,
}

impl RelayTraffic {
    /// `early` bytes were read from the client already.
    pub(crate) fn new(
        downstream: DownstreamTraffic,
        cluster: Arc<ClusterInfo>,
        is_connection: bool,
        early: usize,
    ) -> Self {
        if is_connection {
            add(&downstream.info.upstream.wire_bytes_sent, early as u64);
        }
        Self {
            downstream,
            cluster,
            is_connection,
            last_read: Share::default(),
            unwritten: Share::default(),
            to_downstream: Cell::new(0),
            to_upstream: Cell::new(early as u64),
        }
    }

    fn set_last_read(&self, n: u64) {
        self.last_read.set(&self.cluster.stats.upstream_cx_rx_bytes_buffered, n);
    }

    fn set_unwritten(&self, n: u64) {
        self.unwritten.set(&self.cluster.stats.upstream_cx_tx_bytes_buffered, n);
    }
}

impl Drop for RelayTraffic {
    fn drop(&mut self) {
        self.set_last_read(0);
        self.set_unwritten(0);
    }
}

impl Accounting for RelayTraffic {
    fn downstream_read(&self, n: u64) {
        self.downstream.read(n);
        if self.is_connection {
            add(&self.downstream.info.upstream.wire_bytes_sent, n);
        }
        add(&self.to_upstream, n);
    }

    fn downstream_written(&self, n: u64) {
        self.downstream.written(n);
        subtract(&self.to_downstream, n);
    }

    fn upstream_read(&self, n: u64) {
        let info = &self.downstream.info;
        add(&info.bytes_sent, n);
        if self.is_connection {
            add(&info.upstream.wire_bytes_received, n);
            self.cluster.stats.upstream_cx_rx_bytes_total.add(n);
            self.set_last_read(n);
        }
        add(&self.to_downstream, n);
    }

    fn upstream_written(&self, n: u64) {
        if self.is_connection {
            self.cluster.stats.upstream_cx_tx_bytes_total.add(n);
        }
        subtract(&self.to_upstream, n);
    }

    fn paused_reading(&self, side: Side) {
        match side {
            Side::Downstream => {
                self.downstream.stats.downstream_flow_control_paused_reading_total.inc();
                self.set_unwritten(self.to_upstream.get());
            }
            Side::Upstream => {
                self.cluster.stats.upstream_flow_control_paused_reading_total.inc();
                self.downstream.set_unwritten(self.to_downstream.get());
            }
        }
    }

    fn resumed_reading(&self, side: Side) {
        match side {
            Side::Downstream => {
                self.downstream.stats.downstream_flow_control_resumed_reading_total.inc();
                self.set_unwritten(0);
            }
            Side::Upstream => {
                self.cluster.stats.upstream_flow_control_resumed_reading_total.inc();
                self.downstream.set_unwritten(0);
            }
        }
    }

    fn upstream_flush_started(&self) {
        if self.is_connection {
            self.downstream.stats.upstream_flush_total.inc();
            self.downstream.stats.upstream_flush_active.inc();
        }
    }

    fn upstream_flush_finished(&self) {
        if self.is_connection {
            self.downstream.stats.upstream_flush_active.dec();
        }
    }
}

/// What one connection adds to a gauge; its owner takes it back at the end. It is what fits into a buffer.
#[derive(Default)]
struct Share(Cell<u32>);

impl Share {
    fn set(&self, gauge: &Gauge, value: u64) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        let before = self.0.replace(value);
        if value != before {
            // The difference may be negative; gauges count in two's complement.
            gauge.add(u64::from(value).wrapping_sub(before.into()));
        }
    }
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().wrapping_add(n));
}

fn subtract(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().saturating_sub(n));
}
