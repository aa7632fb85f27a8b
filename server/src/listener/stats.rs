//! What a listener counts, under Envoy's names.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats>

use underpass_core::{stat_group, stats::Scope};

stat_group! {
    /// `listener.<address>.…`
    pub(crate) struct ListenerStats {
        /// Connections that got a filter chain.
        counter downstream_cx_total,
        /// Those of them that are done.
        counter downstream_cx_destroy,
        /// Those of them that are open.
        gauge downstream_cx_active,
        /// How long they were open.
        histogram(Milliseconds) downstream_cx_length_ms,
        /// Connections refused because of the listener's limit.
        counter downstream_cx_overflow,
        /// Connections refused by the overload manager, which has no such action here.
        counter downstream_cx_overload_reject,
        /// Connections refused because of the limit of the process.
        counter downstream_global_cx_overflow,
        /// Connections whose transport socket was not ready in time.
        counter downstream_cx_transport_socket_connect_timeout,
        /// Connections in listener filters.
        gauge downstream_pre_cx_active,
        /// Connections that were in listener filters for too long.
        counter downstream_pre_cx_timeout,
        /// Connections whose client went away while a listener filter waited for it.
        counter downstream_listener_filter_remote_close,
        /// Connections that failed while a listener filter read from them.
        counter downstream_listener_filter_error,
        /// Connections that no filter chain matched.
        counter no_filter_chain_match,
        /// Connections closed because a listener filter was not configured yet: for discovered filters.
        counter extension_config_missing,
        /// Connections closed because a network filter was not configured yet: for discovered filters.
        counter network_extension_config_missing,
        /// How many connections one wake-up of the listening socket brought.
        histogram(Unspecified) connections_accepted_per_socket_event,
        /// Connections that ended because a filter panicked. Not in Envoy.
        counter underpass_filter_panic,
        /// How often no connection could be accepted, for want of descriptors or memory. Not in Envoy.
        counter underpass_accept_failure,
    }
}

stat_group! {
    /// `listener.<address>.worker_<n>.…`
    pub(crate) struct PerWorkerStats {
        /// Connections that got a filter chain.
        counter downstream_cx_total,
        /// Those of them that are open.
        gauge downstream_cx_active,
    }
}

impl PerWorkerStats {
    /// Those of worker `index`, below the scope of a listener.
    pub(crate) fn of_worker(listener: &Scope, index: usize) -> Self {
        Self::new(&listener.scope(&format!("worker_{index}")))
    }
}
