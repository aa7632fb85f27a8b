//! The stats of a cluster's traffic, under Envoy's names.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats>

use crate::stats::{Counter, Gauge, Histogram, NumberKind, Scope, Unit};

macro_rules! traffic_stats {
    (counters { $($counter:ident)* } gauges { $($gauge:ident)* } histograms { $($histogram:ident: $unit:ident)* }) => {
        /// Handles to the stats of one cluster; see Envoy's documentation for what each counts.
        #[derive(Clone)]
        #[expect(missing_docs, reason = "the names are those of Envoy's documentation")]
        pub struct TrafficStats {
            $(pub $counter: Counter,)*
            $(pub $gauge: Gauge,)*
            $(pub $histogram: Histogram,)*
        }

        impl TrafficStats {
            /// Resolves the stats in the scope `cluster.<name>`.
            pub fn new(scope: &Scope) -> Self {
                static DECLARED: &[(NumberKind, &str)] = &[
                    $((NumberKind::Counter, stringify!($counter)),)*
                    $((NumberKind::Gauge, stringify!($gauge)),)*
                ];
                let mut stats = scope.declared(DECLARED);
                // Fields are made in the order in which they are written.
                Self {
                    $($counter: stats.counter(),)*
                    $($gauge: stats.gauge(),)*
                    $($histogram: scope.histogram(stringify!($histogram), Unit::$unit),)*
                }
            }
        }
    };
}

traffic_stats! {
    counters {
        bind_errors
        original_dst_host_invalid
        retry_or_shadow_abandoned
        upstream_cx_close_notify
        upstream_cx_connect_attempts_exceeded
        upstream_cx_connect_fail
        upstream_cx_connect_timeout
        upstream_cx_connect_with_0_rtt
        upstream_cx_destroy
        upstream_cx_destroy_local
        upstream_cx_destroy_local_with_active_rq
        upstream_cx_destroy_remote
        upstream_cx_destroy_remote_with_active_rq
        upstream_cx_destroy_with_active_rq
        upstream_cx_http1_total
        upstream_cx_http2_total
        upstream_cx_http3_total
        upstream_cx_idle_timeout
        upstream_cx_max_duration_reached
        upstream_cx_max_requests
        upstream_cx_none_healthy
        upstream_cx_overflow
        upstream_cx_pool_overflow
        upstream_cx_preconnect_skipped
        upstream_cx_protocol_error
        upstream_cx_rx_bytes_total
        upstream_cx_total
        upstream_cx_tx_bytes_total
        upstream_flow_control_backed_up_total
        upstream_flow_control_drained_total
        upstream_flow_control_paused_reading_total
        upstream_flow_control_resumed_reading_total
        upstream_http3_broken
        upstream_internal_redirect_failed_total
        upstream_internal_redirect_succeeded_total
        upstream_rq_0rtt
        upstream_rq_active_overflow
        upstream_rq_cancelled
        upstream_rq_completed
        upstream_rq_maintenance_mode
        upstream_rq_max_duration_reached
        upstream_rq_pending_failure_eject
        upstream_rq_pending_overflow
        upstream_rq_pending_total
        upstream_rq_per_try_idle_timeout
        upstream_rq_per_try_timeout
        upstream_rq_retry
        upstream_rq_retry_backoff_exponential
        upstream_rq_retry_backoff_ratelimited
        upstream_rq_retry_limit_exceeded
        upstream_rq_retry_overflow
        upstream_rq_retry_success
        upstream_rq_rx_reset
        upstream_rq_rx_reset_no_error
        upstream_rq_timeout
        upstream_rq_total
        upstream_rq_tx_reset
    }
    gauges {
        upstream_queue_overloaded
        upstream_cx_active
        upstream_cx_rx_bytes_buffered
        upstream_cx_tx_bytes_buffered
        upstream_rq_active
        upstream_rq_pending_active
    }
    histograms {
        upstream_cx_connect_ms: Milliseconds
        upstream_cx_length_ms: Milliseconds
        upstream_rq_per_cx: Unspecified
    }
}
