//! `envoy.filters.http.cors`: tells browsers which pages may use what a route leads to.
//!
//! The chain only has the filter; what it says stands with routes:
//!
//! ```yaml
//! virtual_hosts:
//! - name: api
//!   typed_per_filter_config:
//!     envoy.filters.http.cors:
//!       "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
//!       allow_origin_string_match: [{suffix: .example.com}]
//!       allow_methods: GET, PUT
//!       max_age: "600"
//! ```
//!
//! Each field counts where the most specific level sets it. A preflight is answered here, unless its origin is not allowed:
//! then it is passed on, or answered without `access-control-allow-origin` (`forward_not_matching_preflights: false`).
//! Routes that lead to no cluster have no CORS, as in Envoy.
//!
//! It counts `http.<stat_prefix>.cors.origin_valid` and `….origin_invalid`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter>

mod filter;
mod policy;

use std::{any::Any, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    build_context::BuildError, config::RuntimeFractionalPercent, extension, matcher::StringMatcher,
};
use underpass_http::filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, RouteFilterConfig};

use self::{filter::CorsFilter, policy::Policy};

/// `envoy.extensions.filters.http.cors.v3.Cors`; it has no fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cors {}

/// `CorsPolicy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CorsPolicy {
    /// Which origins are allowed; one is enough.
    pub allow_origin_string_match: Vec<StringMatcher>,
    /// `access-control-allow-methods`; `*` is what the preflight asks for.
    pub allow_methods: String,
    /// `access-control-allow-headers`; `*` is what the preflight asks for.
    pub allow_headers: String,
    /// `access-control-expose-headers`.
    pub expose_headers: String,
    /// `access-control-max-age`.
    pub max_age: String,
    /// `access-control-allow-credentials`.
    pub allow_credentials: Option<bool>,
    /// For how many requests it counts; for all unless set.
    pub filter_enabled: Option<RuntimeFractionalPercent>,
    /// For how many of the others origins are at least counted; for none unless set.
    pub shadow_enabled: Option<RuntimeFractionalPercent>,
    /// `access-control-allow-private-network`.
    pub allow_private_network_access: Option<bool>,
    /// Whether a preflight from an origin that is not allowed is passed on; it is unless set.
    pub forward_not_matching_preflights: Option<bool>,
}

/// Tells browsers which pages may use a route.
#[extension(
    name = "envoy.filters.http.cors",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
)]
impl HttpFilterConfig for Cors {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(CorsFilter::new(context)))
    }
}

/// Says which pages may use a route.
#[extension(
    name = "envoy.filters.http.cors",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
)]
impl RouteFilterConfig for CorsPolicy {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(Policy::build(self, context)?))
    }
}

#[cfg(test)]
mod tests;
