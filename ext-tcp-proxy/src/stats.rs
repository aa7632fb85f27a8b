//! The stats of the filter, under Envoy's names.

use underpass_core::{
    stat_group,
    stats::{Counter, Scope},
};

stat_group! {
    /// What one filter counts, in `tcp.<stat_prefix>`.
    pub(crate) struct TcpProxyStats {
        /// Connections that no cluster was found for.
        counter downstream_cx_no_route,
        /// Bytes read from clients.
        counter downstream_cx_rx_bytes_total,
        /// Connections accepted.
        counter downstream_cx_total,
        /// Bytes written to clients.
        counter downstream_cx_tx_bytes_total,
        /// Reading from a client stopped, since its host does not take more.
        counter downstream_flow_control_paused_reading_total,
        /// Reading from a client went on.
        counter downstream_flow_control_resumed_reading_total,
        /// Reads from clients before there was an upstream connection.
        counter early_data_received_count_total,
        /// Connections that were silent for too long.
        counter idle_timeout,
        /// Connections that lasted too long.
        counter max_downstream_connection_duration,
        /// Clients that were gone while bytes still had to be written to their host.
        counter upstream_flush_total,
        /// What the last read of each open connection brought, as in Envoy.
        gauge downstream_cx_rx_bytes_buffered,
        /// Bytes that wait for clients who do not take more.
        gauge downstream_cx_tx_bytes_buffered,
        /// Connections whose client is gone while bytes still have to be written.
        gauge upstream_flush_active,
    }
}

/// What Envoy lists as well, and nothing here can bring about: closing on drain, the overload manager, routes that have to
/// be waited for.
const ALWAYS_ZERO: [&str; 3] =
    ["downstream_cx_drain_close", "downstream_cx_overload_close", "route_delayed_total"];

/// Lists them as long as the handles are kept.
pub(crate) fn always_zero(scope: &Scope) -> [Counter; 3] {
    ALWAYS_ZERO.map(|name| scope.counter(name))
}
