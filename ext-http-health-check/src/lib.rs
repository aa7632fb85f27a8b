//! `envoy.filters.http.health_check`: answers the health checks that others make of this process.
//!
//! ```yaml
//! - name: envoy.filters.http.health_check
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
//!     pass_through_mode: false
//!     headers: [{name: ":path", string_match: {exact: /healthz}}]
//!     cluster_min_healthy_percentages: {upstream: {value: 50}}
//! ```
//!
//! Without `pass_through_mode` it answers itself: 503 if an operator said so (`/healthcheck/fail`) or a cluster has too few
//! healthy hosts, 200 otherwise. With it the upstream answers, unless the process fails or an answer of the present
//! `cache_time` is known. Answers to other requests say `x-envoy-immediate-health-check-fail` while the process fails.
//!
//! Requests that it takes for health checks are counted in `http.<stat_prefix>.tracing.health_check` and not among
//! `downstream_rq_completed`, and access logs know them (`not_health_check_filter`).
//!
//! | stat below `http.<stat_prefix>.health_check.` | what it counts |
//! |---|---|
//! | `request_total` | health checks that were answered here |
//! | `ok`, `failed`, `degraded` | with which outcome |
//! | `cached_response` | those that were answered as the one before |
//! | `failed_cluster_not_found`, `failed_cluster_empty`, `failed_cluster_unhealthy` | why they failed |
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/health_check_filter>

mod cache;
mod filter;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use underpass_core::{build_context::BuildError, config::Percent, extension, matcher::HeaderMatcher};
use underpass_http::filter::{HttpFilter, HttpFilterConfig, HttpFilterContext};

use self::filter::HealthCheckFilter;

/// `envoy.extensions.filters.http.health_check.v3.HealthCheck`.
#[derive(Debug, Deserialize)]
pub struct HealthCheck {
    /// Whether the upstream answers.
    pub pass_through_mode: bool,
    /// How long an answer of the upstream counts.
    #[serde(default)]
    pub cache_time: Option<Duration>,
    /// How many percent of the hosts of clusters have to be healthy.
    #[serde(default)]
    pub cluster_min_healthy_percentages: BTreeMap<String, Percent>,
    /// Which requests are health checks; all of them unless set.
    #[serde(default)]
    pub headers: Vec<HeaderMatcher>,
}

/// Answers health checks.
#[extension(
    name = "envoy.filters.http.health_check",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"
)]
impl HttpFilterConfig for HealthCheck {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        if !self.pass_through_mode && self.cache_time.is_some_and(|time| !time.is_zero()) {
            // The words are Envoy's.
            let message = "cache_time_ms must not be set when path_through_mode is disabled";
            return Err(context.build.error_at("cache_time", message));
        }
        Ok(Arc::new(HealthCheckFilter::new(self, context)))
    }
}

#[cfg(test)]
mod tests;
