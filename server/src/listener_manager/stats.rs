//! What the listener manager counts, under Envoy's names.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats#listener-manager>

use underpass_core::stat_group;

stat_group! {
    /// `listener_manager.…`
    pub(super) struct ListenerManagerStats {
        /// Listeners that were added.
        counter listener_added,
        /// Listeners that could not be bound or started.
        counter listener_create_failure,
        /// How often a worker started a version of a listener.
        counter listener_create_success,
        /// Updates of filter chains alone.
        counter listener_in_place_updated,
        /// Updates of any kind.
        counter listener_modified,
        /// Listeners that were removed.
        counter listener_removed,
        /// Listeners that were stopped without being removed.
        counter listener_stopped,
        /// Filter chains that were replaced and may still have connections.
        gauge total_filter_chains_draining,
        /// Listeners that serve, the stopped ones included.
        gauge total_listeners_active,
        /// Listeners that were replaced or removed and may still have connections.
        gauge total_listeners_draining,
        /// Listeners that wait for something before they serve.
        gauge total_listeners_warming,
        /// Workers bound to a processor, which is not implemented.
        gauge workers_pinned,
        /// Whether all workers serve all listeners.
        gauge workers_started,
    }
}
