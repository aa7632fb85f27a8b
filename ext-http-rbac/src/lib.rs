//! `envoy.filters.http.rbac`: lets requests in, or turns them away, by who asks for what.
//!
//! ```yaml
//! - name: envoy.filters.http.rbac
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
//!     rules:
//!       action: ALLOW
//!       policies:
//!         local-reads:
//!           permissions: [{header: {name: ":method", string_match: {exact: GET}}}]
//!           principals: [{remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]
//! ```
//!
//! A request fulfils a policy if it fulfils one of its permissions and one of its principals. `ALLOW` lets in what fulfils
//! a policy and nothing else, `DENY` the opposite, `LOG` everything. Shadow rules are only noted. A route's rules stand in
//! for those of the chain.
//!
//! | what | where |
//! |---|---|
//! | `allowed`, `denied` | counters below `http.<stat_prefix>.rbac.<rules_stat_prefix>` |
//! | `shadow_allowed`, `shadow_denied` | counters below `http.<stat_prefix>.rbac.<shadow_rules_stat_prefix>` |
//! | `policy.<name>.…` | the same by policy, with `track_per_rule_stats` |
//! | `enforced_engine_result`, `enforced_effective_policy_id`, and the same with `shadow_` | dynamic metadata `envoy.filters.http.rbac` |
//! | `access_log_hint` | dynamic metadata `envoy.common`: whether a request fulfils a `LOG` policy |
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter>

mod config;
mod engine;
mod filter;
mod matching;

use std::{any::Any, sync::Arc};

use underpass_core::{build_context::BuildError, extension};
use underpass_http::filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, RouteFilterConfig};

pub use self::config::{Rbac, RbacPerRoute};
use self::filter::{RbacFilter, Settings};

/// Lets requests in by who asks for what.
#[extension(
    name = "envoy.filters.http.rbac",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
)]
impl HttpFilterConfig for Rbac {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(RbacFilter::new(self, Settings::build(self, context.build.path())?, context)))
    }
}

/// Lets requests of a route in by other rules, or by none.
#[extension(
    name = "envoy.filters.http.rbac",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
)]
impl RouteFilterConfig for RbacPerRoute {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        let path = context.build.path().field("rbac");
        let settings = self.rbac.as_ref().map(|rbac| Settings::build(rbac, &path)).transpose()?;
        Ok(Arc::new(settings.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests;
