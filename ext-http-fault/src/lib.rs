//! `envoy.filters.http.fault`: delays and aborts requests and slows down answers, to test how others take it.
//!
//! ```yaml
//! - name: envoy.filters.http.fault
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
//!     delay: {fixed_delay: 2s, percentage: {numerator: 10}}
//!     abort: {http_status: 503, percentage: {numerator: 5}}
//!     headers: [{name: x-test, present_match: true}]
//! ```
//!
//! A delay may be followed by an abort. With `header_delay`, `header_abort` and `header_limit` the request says it itself:
//! `x-envoy-fault-delay-request` (milliseconds), `x-envoy-fault-abort-request` (HTTP status),
//! `x-envoy-fault-abort-grpc-request` and `x-envoy-fault-throughput-response` (KiB a second), each with a `-percentage` of
//! its own up to that of the configuration.
//!
//! | stat below `http.<stat_prefix>.fault.` | what it counts |
//! |---|---|
//! | `delays_injected`, `aborts_injected`, `response_rl_injected` | counters: requests with such a fault |
//! | `active_faults` | gauge: requests that have one now |
//! | `faults_overflow` | counter: faults left out, because of `max_active_faults` |
//! | `<downstream cluster>.delays_injected`, `….aborts_injected` | the same, by `x-envoy-downstream-service-cluster` |
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter>

mod config;
mod filter;
mod limited_body;
mod settings;

use std::{any::Any, sync::Arc};

use underpass_core::{build_context::BuildError, extension};
use underpass_http::filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, RouteFilterConfig};

pub use self::config::{Abort, FaultAbort, FaultDelay, FaultRateLimit, HttpFault, Source};
use self::{filter::FaultFilter, settings::Settings};

/// Delays and aborts requests.
#[extension(
    name = "envoy.filters.http.fault",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
)]
impl HttpFilterConfig for HttpFault {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(FaultFilter::new(Settings::new(self), context)))
    }
}

/// Delays and aborts requests of a route, instead of what the chain says.
#[extension(
    name = "envoy.filters.http.fault",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
)]
impl RouteFilterConfig for HttpFault {
    fn build(&self, _: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(Settings::new(self)))
    }
}

#[cfg(test)]
mod tests;
