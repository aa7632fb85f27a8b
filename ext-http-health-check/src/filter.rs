//! The filter at work.

use std::{rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use underpass_core::{
    connection::BoxFuture, matcher::HeaderMatcher, response_flags::ResponseFlag, server::ServerContext,
    stat_group,
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterContext, Next},
    local_reply::local_reply,
    route::matches_header,
};

use crate::{
    HealthCheck,
    cache::{Cache, Known},
};

const DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");
const CHECKED_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");
const IMMEDIATE_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");

stat_group! {
    /// What it counts.
    struct HealthCheckStats {
        counter request_total,
        counter ok,
        counter failed,
        counter degraded,
        counter cached_response,
        counter failed_cluster_not_found,
        counter failed_cluster_empty,
        counter failed_cluster_unhealthy,
    }
}

pub(crate) struct HealthCheckFilter {
    server: Arc<ServerContext>,
    pass_through: bool,
    cache: Option<Cache>,
    min_healthy: Vec<(String, f64)>,
    headers: Vec<HeaderMatcher>,
    /// The name of this process's cluster, which answers tell.
    cluster: HeaderValue,
    stats: HealthCheckStats,
}

impl HealthCheckFilter {
    pub(crate) fn new(config: &HealthCheck, context: &HttpFilterContext<'_>) -> Self {
        let server = Arc::clone(context.build.server);
        let cache_time = config.cache_time.filter(|time| !time.is_zero());
        let percentages = config.cluster_min_healthy_percentages.iter();
        Self {
            pass_through: config.pass_through_mode,
            cache: cache_time.map(Cache::new),
            min_healthy: percentages.map(|(name, percent)| (name.clone(), percent.value)).collect(),
            headers: config.headers.clone(),
            cluster: HeaderValue::from_str(&server.node.cluster).unwrap_or(HeaderValue::from_static("")),
            stats: HealthCheckStats::new(&context.scope("health_check")),
            server,
        }
    }

    fn failing(&self) -> bool {
        self.server.health_checks.failing()
    }

    /// The answer to a health check that is answered here.
    fn answer(&self, stream: &HttpStream) -> Response {
        let stats = &self.stats;
        stats.request_total.inc();
        let cached = self.cache.as_ref().and_then(Cache::get);
        let (known, details) = if self.failing() {
            (Known { status: StatusCode::SERVICE_UNAVAILABLE, degraded: false }, "health_check_failed")
        } else if let Some(known) = cached {
            stats.cached_response.inc();
            (known, "health_check_cached")
        } else {
            let (status, details) = self.clusters(stream);
            (Known { status, degraded: false }, details)
        };
        if known.status.is_success() {
            stats.ok.inc();
        } else {
            stats.failed.inc();
            stream.info.set_flag(ResponseFlag::FailedLocalHealthCheck);
        }
        let mut answer = local_reply(stream, known.status, "", details);
        if known.degraded {
            stats.degraded.inc();
            answer.headers_mut().insert(DEGRADED, HeaderValue::from_static(""));
        }
        answer
    }

    /// What the clusters say, and which of them.
    fn clusters(&self, stream: &HttpStream) -> (StatusCode, &'static str) {
        let failed = |details| (StatusCode::SERVICE_UNAVAILABLE, details);
        if self.min_healthy.is_empty() {
            return (StatusCode::OK, "health_check_ok");
        }
        for (name, min_healthy) in &self.min_healthy {
            let Some(cluster) = stream.worker().cluster_manager().and_then(|manager| manager.cluster(name))
            else {
                self.stats.failed_cluster_not_found.inc();
                return failed("health_check_failed_no_cluster_found");
            };
            // Health checks are rare enough for looking the gauges up.
            let members = |name| cluster.info().scope.gauge(name).value() as f64;
            let total = members("membership_total");
            if total == 0.0 && *min_healthy > 0.0 {
                self.stats.failed_cluster_empty.inc();
                return failed("health_check_failed_cluster_empty");
            }
            if members("membership_healthy") < total * min_healthy / 100.0 {
                self.stats.failed_cluster_unhealthy.inc();
                return failed("health_check_failed_cluster_unhealthy");
            }
        }
        (StatusCode::OK, "health_check_ok_cluster_healthy")
    }

    /// What answers of the upstream, of this filter and of others are given.
    fn mark(&self, stream: &HttpStream, response: &mut Response) {
        if stream.info.health_check.get() {
            if let Some(cache) = &self.cache {
                let degraded = response.headers().contains_key(DEGRADED);
                cache.set(Known { status: response.status(), degraded });
            }
            response.headers_mut().insert(CHECKED_CLUSTER, self.cluster.clone());
        }
        if self.failing() {
            response.headers_mut().insert(IMMEDIATE_FAIL, HeaderValue::from_static("true"));
        }
    }
}

impl HttpFilter for HealthCheckFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        Box::pin(async move {
            if self.headers.iter().all(|matcher| matches_header(matcher, &stream.request())) {
                stream.info.health_check.set(true);
                let known = || self.cache.as_ref().and_then(Cache::get).is_some();
                if !self.pass_through || self.failing() || known() {
                    // The answer waits for the end of the request.
                    let mut body = body;
                    while let Some(Ok(_)) = body.frame().await {}
                    let mut answer = next.reply(stream, self.answer(stream));
                    self.mark(stream, &mut answer);
                    return answer;
                }
            }
            let mut response = next.run(stream, body).await;
            self.mark(stream, &mut response);
            response
        })
    }

    fn local_reply(&self, stream: &HttpStream, response: &mut Response) {
        self.mark(stream, response);
    }
}
