//! The stats of a connection manager, under Envoy's names.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats>

use underpass_core::{
    stat_group,
    stats::{Counter, Scope},
};

stat_group! {
    /// What one connection manager counts, in `http.<stat_prefix>`.
    pub(crate) struct ManagerStats {
        /// Connections whose client did not close them in time.
        counter downstream_cx_delayed_close_timeout,
        /// Connections that ended.
        counter downstream_cx_destroy,
        /// Connections that ended with a request open.
        counter downstream_cx_destroy_active_rq,
        /// Connections that this proxy ended.
        counter downstream_cx_destroy_local,
        /// The same, with a request open.
        counter downstream_cx_destroy_local_active_rq,
        /// Connections that the client ended.
        counter downstream_cx_destroy_remote,
        /// The same, with a request open.
        counter downstream_cx_destroy_remote_active_rq,
        /// Connections that were closed because the listener drains.
        counter downstream_cx_drain_close,
        /// Connections that speak HTTP/1.
        counter downstream_cx_http1_total,
        /// Connections that speak HTTP/2.
        counter downstream_cx_http2_total,
        /// Connections that were idle for too long.
        counter downstream_cx_idle_timeout,
        /// Connections that lasted too long.
        counter downstream_cx_max_duration_reached,
        /// Connections that served as many requests as they may.
        counter downstream_cx_max_requests_reached,
        /// Connections whose client broke the protocol.
        counter downstream_cx_protocol_error,
        /// Bytes received.
        counter downstream_cx_rx_bytes_total,
        /// Connections.
        counter downstream_cx_total,
        /// Bytes sent.
        counter downstream_cx_tx_bytes_total,
        /// Upgrades and CONNECTs.
        counter downstream_cx_upgrades_total,
        /// Answers, by status.
        counter downstream_rq_1xx,
        /// Answers, by status.
        counter downstream_rq_2xx,
        /// Answers, by status.
        counter downstream_rq_3xx,
        /// Answers, by status.
        counter downstream_rq_4xx,
        /// Answers, by status.
        counter downstream_rq_5xx,
        /// Answers.
        counter downstream_rq_completed,
        /// Requests whose path could not be normalized.
        counter downstream_rq_failed_path_normalization,
        /// Requests whose head took too long.
        counter downstream_rq_header_timeout,
        /// Requests of HTTP/1.
        counter downstream_rq_http1_total,
        /// Requests of HTTP/2.
        counter downstream_rq_http2_total,
        /// Requests that were silent for too long.
        counter downstream_rq_idle_timeout,
        /// Requests that lasted too long.
        counter downstream_rq_max_duration_reached,
        /// Requests whose path does not begin with a slash.
        counter downstream_rq_non_relative_path,
        /// Requests that were redirected to their normalized path.
        counter downstream_rq_redirected_with_normalized_path,
        /// Requests that were answered before they were complete.
        counter downstream_rq_response_before_rq_complete,
        /// Requests that were reset.
        counter downstream_rq_rx_reset,
        /// Requests that took too long to arrive.
        counter downstream_rq_timeout,
        /// Connections whose client resets too many requests.
        counter downstream_rq_too_many_premature_resets,
        /// Requests.
        counter downstream_rq_total,
        /// Requests that this proxy reset.
        counter downstream_rq_tx_reset,
        /// Upgrades that are not allowed.
        counter downstream_rq_ws_on_non_ws_route,
        /// Connections open.
        gauge downstream_cx_active,
        /// Connections open that speak HTTP/1.
        gauge downstream_cx_http1_active,
        /// Connections open that speak HTTP/2.
        gauge downstream_cx_http2_active,
        /// Bytes received and not yet used.
        gauge downstream_cx_rx_bytes_buffered,
        /// Bytes that wait to be sent.
        gauge downstream_cx_tx_bytes_buffered,
        /// Upgrades and CONNECTs open.
        gauge downstream_cx_upgrades_active,
        /// Requests open.
        gauge downstream_rq_active,
        /// How long connections lasted.
        histogram(Milliseconds) downstream_cx_length_ms,
        /// How long requests took.
        histogram(Milliseconds) downstream_rq_time,
    }
}

stat_group! {
    /// What is counted for each listener, in `listener.<address>.http.<stat_prefix>`.
    pub(crate) struct ListenerStats {
        /// Answers, by status.
        counter downstream_rq_1xx,
        /// Answers, by status.
        counter downstream_rq_2xx,
        /// Answers, by status.
        counter downstream_rq_3xx,
        /// Answers, by status.
        counter downstream_rq_4xx,
        /// Answers, by status.
        counter downstream_rq_5xx,
        /// Answers.
        counter downstream_rq_completed,
    }
}

/// What Envoy lists as well, and nothing here can bring about: TLS, HTTP/3, the overload manager, tracing.
const ALWAYS_ZERO: &[&str] = &[
    "downstream_cx_http1_soft_drain",
    "downstream_cx_http3_total",
    "downstream_cx_overload_disable_keepalive",
    "downstream_cx_ssl_total",
    "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total",
    "downstream_rq_http3_total",
    "downstream_rq_overload_close",
    "downstream_rq_rejected_via_ip_detection",
    "downstream_rq_too_large",
    "rs_too_large",
    "tracing.client_enabled",
    "tracing.not_traceable",
    "tracing.random_sampling",
    "tracing.service_forced",
    "passthrough_internal_redirect_bad_location",
];

/// Lists them as long as the handles are kept.
pub(crate) fn always_zero(scope: &Scope) -> Vec<Counter> {
    ALWAYS_ZERO.iter().map(|name| scope.counter(name)).collect()
}

/// Counts an answer in both.
pub(crate) fn count_answer(stats: &ManagerStats, listener: &ListenerStats, status: u16) {
    stats.downstream_rq_completed.inc();
    listener.downstream_rq_completed.inc();
    let (counter, listener) = match status / 100 {
        1 => (&stats.downstream_rq_1xx, &listener.downstream_rq_1xx),
        2 => (&stats.downstream_rq_2xx, &listener.downstream_rq_2xx),
        3 => (&stats.downstream_rq_3xx, &listener.downstream_rq_3xx),
        4 => (&stats.downstream_rq_4xx, &listener.downstream_rq_4xx),
        5 => (&stats.downstream_rq_5xx, &listener.downstream_rq_5xx),
        _ => return,
    };
    counter.inc();
    listener.inc();
}
