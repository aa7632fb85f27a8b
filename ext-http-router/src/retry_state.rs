//! Whether and when a request is tried again.
//!
//! As in Envoy (`source/common/router/retry_state_impl.cc`), a retry holds a place in the circuit breaker `max_retries` from
//! the moment that it is decided until its own outcome is known.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, StatusCode};
use underpass_core::{
    cluster::{ClusterInfo, ResourceHold},
    matcher::HeaderMatcher,
    runtime::RuntimeSnapshot,
    stats::Counter,
};
use underpass_http::{
    RequestHead,
    reset::ResetReason,
    response_stats::RouteStats,
    route::{RetryBackOff, RetryOn, RetryPolicy},
};

use crate::retry_on::{asks_for_answer, asks_for_reset};

pub(crate) const RETRY_ON: &str = "x-envoy-retry-on";
pub(crate) const RETRY_GRPC_ON: &str = "x-envoy-retry-grpc-on";
pub(crate) const MAX_RETRIES: &str = "x-envoy-max-retries";
const RETRIABLE_STATUS_CODES: &str = "x-envoy-retriable-status-codes";
const RETRIABLE_HEADER_NAMES: &str = "x-envoy-retriable-header-names";

/// What is known of the retries of one request.
pub(crate) struct RetryState {
    conditions: RetryOn,
    remaining: u32,
    policy: Option<Arc<RetryPolicy>>,
    /// Of the request itself.
    status_codes: Vec<u16>,
    /// Of the request itself.
    header_names: Vec<HeaderName>,
    waits: Waits,
    high_priority: bool,
    /// Envoy's emergency switch, `upstream.use_retry`.
    allowed: bool,
    /// Of the route, if it has its own.
    stats: Option<Arc<RouteStats>>,
    /// A retry is under way.
    hold: Option<ResourceHold>,
}

/// What becomes of a request after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The outcome stands.
    No,
    /// It is tried again after this.
    Retry(Duration),
    /// It would be, but was often enough.
    LimitExceeded,
    /// It would be, but too many retries are under way.
    Overflow,
}

impl RetryState {
    /// Takes what concerns retries out of a request's headers. `None` if there will be no retry.
    pub(crate) fn new(
        policy: Option<&Arc<RetryPolicy>>,
        stats: Option<&Arc<RouteStats>>,
        head: &mut RequestHead,
        has_envoy_headers: bool,
        high_priority: bool,
        runtime: &dyn Fn() -> Arc<RuntimeSnapshot>,
    ) -> Option<Self> {
        let asked = if has_envoy_headers { Asked::take(&mut head.headers) } else { Asked::default() };
        let mut conditions = policy.map(|policy| policy.retry_on).unwrap_or_default();
        if conditions.is_empty() && asked.conditions.is_none() {
            return None;
        }
        conditions = conditions | asked.conditions.unwrap_or_default();
        let limits = policy.map_or(&[][..], |policy| &policy.retriable_request_headers);
        if !limits.is_empty() && !limits.iter().any(|matcher| matcher.matches(head.get(matcher.name()))) {
            conditions = RetryOn::default();
        }
        let remaining = policy.map_or(1, |policy| policy.num_retries);
        let runtime = runtime();
        let back_off =
            policy.and_then(|policy| policy.back_off).unwrap_or_else(|| default_back_off(&runtime));
        Some(Self {
            conditions,
            remaining: asked.max_retries.filter(|_| !conditions.is_empty()).unwrap_or(remaining),
            policy: policy.cloned(),
            status_codes: asked.status_codes,
            header_names: asked.header_names,
            waits: Waits { next: back_off.base_interval, max: back_off.max_interval },
            high_priority,
            allowed: runtime.integer("upstream.use_retry", 100) > fastrand::u64(..100),
            stats: stats.cloned(),
            hold: None,
        })
    }

    /// Whether there may be a retry at all.
    pub(crate) fn enabled(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Decides after the head of an answer.
    pub(crate) fn after_answer(
        &mut self,
        cluster: &ClusterInfo,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Decision {
        let policy = self.policy.as_deref();
        let asks = asks_for_answer(
            self.conditions,
            status,
            headers,
            |status| {
                let listed = policy.is_some_and(|policy| policy.retriable_status_codes.contains(&status));
                listed || self.status_codes.contains(&status)
            },
            || {
                let matchers = policy.map_or(&[][..], |policy| &policy.retriable_headers);
                matchers.iter().any(|matcher| matches(matcher, status, headers))
                    || self.header_names.iter().any(|name| headers.contains_key(name))
            },
        );
        let rate_limit = policy.filter(|_| asks).and_then(|policy| rate_limited_wait(policy, headers));
        self.decide(cluster, asks, rate_limit)
    }

    /// Decides after a request that got no answer.
    pub(crate) fn after_reset(
        &mut self,
        cluster: &ClusterInfo,
        reason: ResetReason,
        request_was_sent: bool,
    ) -> Decision {
        let asks = asks_for_reset(self.conditions, reason, request_was_sent);
        self.decide(cluster, asks, None)
    }

    fn decide(&mut self, cluster: &ClusterInfo, asks: bool, rate_limit: Option<Duration>) -> Decision {
        let stats = &cluster.stats;
        let of_route = self.stats.as_deref().map(|stats| &stats.counters);
        let count = |of_cluster: &Counter, of_route: Option<&Counter>| {
            of_cluster.inc();
            if let Some(counter) = of_route {
                counter.inc();
            }
        };
        if self.hold.take().is_some() && !asks {
            count(&stats.upstream_rq_retry_success, of_route.map(|it| &it.upstream_rq_retry_success));
        }
        if !asks {
            return Decision::No;
        }
        let Some(remaining) = self.remaining.checked_sub(1) else {
            let own = of_route.map(|it| &it.upstream_rq_retry_limit_exceeded);
            count(&stats.upstream_rq_retry_limit_exceeded, own);
            return Decision::LimitExceeded;
        };
        self.remaining = remaining;
        let breakers = cluster.circuit_breakers.of(self.high_priority);
        if !breakers.may_retry() {
            count(&stats.upstream_rq_retry_overflow, of_route.map(|it| &it.upstream_rq_retry_overflow));
            return Decision::Overflow;
        }
        if !self.allowed {
            return Decision::No;
        }
        self.hold = Some(breakers.retries.hold());
        count(&stats.upstream_rq_retry, of_route.map(|it| &it.upstream_rq_retry));
        if let Some(at_least) = rate_limit {
            stats.upstream_rq_retry_backoff_ratelimited.inc();
            // As Envoy's JitteredLowerBoundBackOffStrategy.
            return Decision::Retry(at_least + (at_least / 2).mul_f64(fastrand::f64()));
        }
        stats.upstream_rq_retry_backoff_exponential.inc();
        Decision::Retry(self.waits.next())
    }
}

/// What a request asks for itself.
#[derive(Default)]
struct Asked {
    conditions: Option<RetryOn>,
    max_retries: Option<u32>,
    status_codes: Vec<u16>,
    header_names: Vec<HeaderName>,
}

impl Asked {
    fn take(headers: &mut HeaderMap) -> Self {
        let mut take =
            |name: &str| headers.remove(name).and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let (http, grpc) = (take(RETRY_ON), take(RETRY_GRPC_ON));
        let max_retries = take(MAX_RETRIES);
        let (status_codes, header_names) = (take(RETRIABLE_STATUS_CODES), take(RETRIABLE_HEADER_NAMES));
        let words = |list: Option<String>| list.unwrap_or_default();
        let split = |list: &str| list.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>();
        Self {
            conditions: (http.is_some() || grpc.is_some())
                .then(|| RetryOn::parse(&words(http)) | RetryOn::parse_grpc(&words(grpc))),
            max_retries: max_retries.and_then(|number| number.parse().ok()),
            status_codes: split(&words(status_codes)).iter().filter_map(|code| code.parse().ok()).collect(),
            header_names: split(&words(header_names))
                .iter()
                .filter_map(|name| name.to_ascii_lowercase().parse().ok())
                .collect(),
        }
    }
}

fn default_back_off(runtime: &RuntimeSnapshot) -> RetryBackOff {
    let base = Duration::from_millis(runtime.integer("upstream.base_retry_backoff_ms", 25).max(1));
    RetryBackOff { base_interval: base, max_interval: base * 10 }
}

/// Exponential waits with full jitter.
struct Waits {
    /// The longest that the next one may take.
    next: Duration,
    max: Duration,
}

impl Waits {
    fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(fastrand::f64());
        self.next = (self.next * 2).min(self.max);
        wait
    }
}

/// How long a rate limiter asks to wait, if it does and it is not too long.
fn rate_limited_wait(policy: &RetryPolicy, headers: &HeaderMap) -> Option<Duration> {
    let waits = policy.reset_headers.iter().filter_map(|header| {
        let seconds = Duration::from_secs(headers.get(&header.name)?.to_str().ok()?.trim().parse().ok()?);
        if !header.since_epoch {
            return Some(seconds);
        }
        seconds.checked_sub(SystemTime::now().duration_since(UNIX_EPOCH).ok()?)
    });
    let mut waits = waits.filter(|wait| *wait <= policy.reset_max_interval);
    waits.next().filter(|wait| *wait > Duration::from_millis(1))
}

fn matches(matcher: &HeaderMatcher, status: StatusCode, headers: &HeaderMap) -> bool {
    match matcher.name() {
        ":status" => matcher.matches(Some(status.as_str())),
        name => matcher.matches(headers.get(name).and_then(|value| value.to_str().ok())),
    }
}

#[cfg(test)]
mod tests;
