//! A configuration, of the chain or of a route, ready for use.

use std::sync::Arc;

use http::StatusCode;
use underpass_core::{
    build_context::BuildError, config::RuntimeFractionalPercent, runtime::Runtime, stat_group,
};
use underpass_http::{HttpStream, filter::HttpFilterContext, header_mutation::HeaderMutations};

use crate::{
    action::{Descriptor, RateLimit},
    config::{LocalRateLimit, NEVER, VhRateLimits, XRateLimitHeaders},
    limiter::{Limiter, Plan},
};

stat_group! {
    /// What it counts.
    pub(crate) struct LocalRateLimitStats {
        counter enabled,
        counter enforced,
        counter ok,
        counter rate_limited,
        counter shadow_mode,
    }
}

/// Envoy's runtime key under which a `descriptor_value` may hold command operators; it is off there as well.
const FORMATTED_VALUES: &str =
    "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value";

pub(crate) struct Settings {
    pub(crate) stats: LocalRateLimitStats,
    pub(crate) status: StatusCode,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) enabled: Fraction,
    pub(crate) enforced: Fraction,
    pub(crate) not_enforced_headers: HeaderMutations,
    pub(crate) response_headers: HeaderMutations,
    pub(crate) x_ratelimit_headers: bool,
    pub(crate) retry_after: bool,
    /// None if each connection has its own.
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) plan: Plan,
    rate_limits: Vec<RateLimit>,
}

/// A part of all requests. The runtime is asked only where there is a key.
pub(crate) struct Fraction {
    percent: RuntimeFractionalPercent,
    runtime: Arc<Runtime>,
}

impl Fraction {
    fn new(percent: Option<&RuntimeFractionalPercent>, runtime: &Arc<Runtime>) -> Self {
        let never = || RuntimeFractionalPercent { default_value: NEVER, runtime_key: String::new() };
        Self { percent: percent.cloned().unwrap_or_else(never), runtime: Arc::clone(runtime) }
    }

    /// Whether this request is one of them.
    pub(crate) fn includes_this(&self) -> bool {
        if self.percent.runtime_key.is_empty() {
            let fraction = self.percent.default_value.fraction();
            return fraction >= 1.0 || fastrand::f64() < fraction;
        }
        self.runtime.snapshot().is_enabled(&self.percent, fastrand::u64(..))
    }
}

impl Settings {
    pub(crate) fn build(
        config: &LocalRateLimit,
        context: &HttpFilterContext<'_>,
    ) -> Result<Self, BuildError> {
        let (server, path) = (context.build.server, context.build.path());
        let plan = Plan::build(config, path)?;
        let formatted = server.runtime.snapshot().boolean(FORMATTED_VALUES, false);
        let limits = config.rate_limits.iter().enumerate();
        let limits = limits
            .map(|(at, limit)| RateLimit::build(limit, &path.field("rate_limits").index(at), formatted));
        let rate_limits: Vec<_> = limits.collect::<Result<_, _>>()?;
        if rate_limits.is_empty() && !config.descriptors.is_empty() {
            let message =
                "without rate_limits beside it, no request is of such a kind: routes have none here";
            context.build.warn(BuildError::at(path.field("descriptors"), message));
        }
        if config.stage != 0 || config.vh_rate_limits != VhRateLimits::Override {
            let message = "stage and vh_rate_limits have no effect: routes have no rate_limits here";
            context.build.warn(BuildError::at(path.clone(), message));
        }
        let scope = server.stats.scope(&format!("{}.http_local_rate_limit", config.stat_prefix));
        let error = config.status.as_ref().map(|status| status.code.0).filter(|code| code.as_u16() >= 400);
        Ok(Self {
            stats: LocalRateLimitStats::new(&scope),
            status: error.unwrap_or(StatusCode::TOO_MANY_REQUESTS),
            // RESOURCE_EXHAUSTED.
            grpc_status: config.rate_limited_as_resource_exhausted.then_some(8),
            enabled: Fraction::new(config.filter_enabled.as_ref(), &server.runtime),
            enforced: Fraction::new(config.filter_enforced.as_ref(), &server.runtime),
            not_enforced_headers: HeaderMutations::additions(
                &config.request_headers_to_add_when_not_enforced,
                &path.field("request_headers_to_add_when_not_enforced"),
            )?,
            response_headers: HeaderMutations::additions(
                &config.response_headers_to_add,
                &path.field("response_headers_to_add"),
            )?,
            x_ratelimit_headers: config.enable_x_ratelimit_headers == XRateLimitHeaders::DraftVersion03,
            retry_after: config.enable_retry_after_header,
            limiter: (!config.local_rate_limit_per_downstream_connection)
                .then(|| Arc::new(Limiter::new(&plan))),
            plan,
            rate_limits,
        })
    }

    /// The kinds of a request.
    pub(crate) fn descriptors(&self, stream: &HttpStream) -> Vec<(Descriptor, u64)> {
        let limits = self.rate_limits.iter();
        limits.filter_map(|limit| Some((limit.descriptor(stream)?, limit.hits))).collect()
    }
}
