//! The stats of the filter, under Envoy's names.

use underpass_core::stat_group;

stat_group! {
    /// What one filter counts, in `http.<stat_prefix>`.
    pub(crate) struct RouterStats {
        /// Redirects that were to be followed here, to a malformed location.
        counter passthrough_internal_redirect_bad_location,
        /// The same, to where there is no route.
        counter passthrough_internal_redirect_no_route,
        /// The same, refused by a predicate.
        counter passthrough_internal_redirect_predicate,
        /// The same, after too many of them.
        counter passthrough_internal_redirect_too_many_redirects,
        /// The same, to another scheme.
        counter passthrough_internal_redirect_unsafe_scheme,
        /// Requests whose cluster does not exist.
        counter no_cluster,
        /// Requests without a route.
        counter no_route,
        /// Requests that their route answered.
        counter rq_direct_response,
        /// Requests refused for overload.
        counter rq_overload_local_reply,
        /// Requests that were redirected.
        counter rq_redirect,
        /// Answers that broke off.
        counter rq_reset_after_downstream_response_started,
        /// Requests.
        counter rq_total,
    }
}
