//! `envoy.filters.http.local_ratelimit`: refuses requests that come too fast, by what this process alone has seen.
//!
//! ```yaml
//! - name: envoy.filters.http.local_ratelimit
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
//!     stat_prefix: all
//!     token_bucket: {max_tokens: 100, tokens_per_fill: 10, fill_interval: 1s}
//!     filter_enabled: {default_value: {numerator: 100}}
//!     filter_enforced: {default_value: {numerator: 100}}
//!     rate_limits:
//!     - actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]
//!     descriptors:
//!     - entries: [{key: user}]            # each user has a bucket of its own
//!       token_bucket: {max_tokens: 5, fill_interval: 1s}
//! ```
//!
//! The buckets are shared by all workers without a lock, and fill all the time; those of values that are not listed are
//! found under a lock. With `local_rate_limit_per_downstream_connection` each connection has its own.
//!
//! | stat below `<stat_prefix>.http_local_rate_limit.` | what it counts |
//! |---|---|
//! | `enabled` | requests that the filter looked at |
//! | `ok`, `rate_limited` | those that were within the limit, and those that were not |
//! | `enforced` | those that were refused |
//! | `shadow_mode` | those that a descriptor in `shadow_mode` would have had refused |
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter>

mod action;
mod bucket;
mod config;
mod filter;
mod limiter;
mod settings;

use std::{any::Any, sync::Arc};

use underpass_core::{build_context::BuildError, extension};
use underpass_http::filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, RouteFilterConfig};

pub use self::config::LocalRateLimit;
use self::{filter::LocalRateLimitFilter, settings::Settings};

/// Refuses requests that come too fast.
#[extension(
    name = "envoy.filters.http.local_ratelimit",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
)]
impl HttpFilterConfig for LocalRateLimit {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        let settings = Arc::new(Settings::build(self, context)?);
        Ok(Arc::new(LocalRateLimitFilter { name: context.name.into(), settings }))
    }
}

/// Refuses requests of a route that come too fast, instead of what the chain says.
#[extension(
    name = "envoy.filters.http.local_ratelimit",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
)]
impl RouteFilterConfig for LocalRateLimit {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        if self.token_bucket.is_none() {
            return Err(BuildError::new("local rate limit token bucket must be set for per filter configs"));
        }
        Ok(Arc::new(Settings::build(self, context)?))
    }
}

#[cfg(test)]
mod tests;
