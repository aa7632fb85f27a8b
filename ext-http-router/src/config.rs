//! The configuration (`envoy/extensions/filters/http/router/v3/router.proto`).

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use underpass_core::{access_log::AccessLog, build_context::BuildError, extension};
use underpass_http::filter::{HttpFilter, HttpFilterConfig, HttpFilterContext};

use crate::filter::RouterFilter;

/// `envoy.extensions.filters.http.router.v3.Router`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Router {
    /// Whether answers are counted by status and zone (`cluster.<name>.upstream_rq_200` and the like); they are, unless set.
    pub dynamic_stats: Option<bool>,
    /// Whether each attempt has a span of its own. It has no effect: there is no tracing.
    pub start_child_span: bool,
    /// Where each attempt is logged.
    pub upstream_log: Vec<AccessLog>,
    /// When attempts are logged, apart from their end.
    pub upstream_log_options: Option<UpstreamAccessLogOptions>,
    /// Adds no `x-envoy-` headers to requests and answers.
    pub suppress_envoy_headers: bool,
    /// Headers whose value has to be well-formed: a request with a malformed one is refused.
    pub strict_check_headers: Vec<String>,
    /// Takes `x-envoy-expected-rq-timeout-ms` of the request for its timeout.
    pub respect_expected_rq_timeout: bool,
    /// Does not count the answers to gRPC requests by their HTTP status.
    pub suppress_grpc_request_failure_code_stats: bool,
}

/// `Router.UpstreamAccessLogOptions`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct UpstreamAccessLogOptions {
    /// Logs an attempt once it has its upstream stream (`UpstreamPoolReady`).
    pub flush_upstream_log_on_upstream_stream: bool,
    /// Logs an attempt again and again while it lasts (`UpstreamPeriodic`).
    pub upstream_log_flush_interval: Option<Duration>,
}

/// Sends requests to the clusters that their routes name.
#[extension(
    name = "envoy.filters.http.router",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
)]
impl HttpFilterConfig for Router {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(RouterFilter::build(self, context)?))
    }
}
