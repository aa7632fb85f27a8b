//! How long a request may take: what the route says, and what headers of the request say instead.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-upstream-rq-timeout-ms>

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use underpass_http::grpc_timeout;

pub(crate) const UPSTREAM_RQ_TIMEOUT_MS: &str = "x-envoy-upstream-rq-timeout-ms";
pub(crate) const UPSTREAM_RQ_PER_TRY_TIMEOUT_MS: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
static EXPECTED_RQ_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// What a route says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RouteTimeouts {
    /// `timeout`; none if it is zero.
    pub(crate) global: Option<Duration>,
    /// `retry_policy.per_try_timeout`.
    pub(crate) per_try: Option<Duration>,
    /// `retry_policy.per_try_idle_timeout`.
    pub(crate) per_try_idle: Option<Duration>,
    /// The route has a `max_stream_duration`, which the connection manager sees to, so `timeout` has no effect.
    pub(crate) superseded: bool,
    /// `max_grpc_timeout`; zero for any.
    pub(crate) max_grpc: Option<Duration>,
    /// `grpc_timeout_offset`.
    pub(crate) grpc_offset: Option<Duration>,
}

/// What counts for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// From the end of the request to the end of the answer, all attempts together.
    pub(crate) global: Option<Duration>,
    /// Of each attempt, up to the head of the answer.
    pub(crate) per_try: Option<Duration>,
    /// Of each attempt, how long it may be silent.
    pub(crate) per_try_idle: Option<Duration>,
    /// `grpc-timeout` is to say what is left.
    writes_grpc_timeout: bool,
}

impl Timeouts {
    /// Works them out, and takes the headers out of the request that had a say. Without
    /// `has_envoy_headers` there is none of them; with `respect_expected`, a proxy before this one may have decided already.
    pub(crate) fn of_request(
        route: &RouteTimeouts,
        headers: &mut HeaderMap,
        has_envoy_headers: bool,
        is_grpc: bool,
        respect_expected: bool,
    ) -> Self {
        let by_grpc = is_grpc && !route.superseded && route.max_grpc.is_some();
        let mut timeouts = Self {
            global: match route {
                RouteTimeouts { superseded: true, .. } => None,
                RouteTimeouts { max_grpc: Some(max), grpc_offset, .. } if is_grpc => {
                    asked_by_grpc(headers, *max, *grpc_offset)
                }
                _ => route.global,
            },
            per_try: route.per_try,
            per_try_idle: route.per_try_idle,
            writes_grpc_timeout: by_grpc,
        };
        if has_envoy_headers {
            timeouts.take_headers(headers, respect_expected);
        }
        if let (Some(per_try), Some(global)) = (timeouts.per_try, timeouts.global)
            && per_try >= global
        {
            timeouts.per_try = None;
        }
        timeouts
    }

    fn take_headers(&mut self, headers: &mut HeaderMap, respect_expected: bool) {
        let expected =
            respect_expected.then(|| headers.get(&EXPECTED_RQ_TIMEOUT_MS).map(milliseconds)).flatten();
        let global = match expected {
            Some(expected) => expected,
            None => headers.remove(UPSTREAM_RQ_TIMEOUT_MS).as_ref().and_then(milliseconds),
        };
        if let Some(global) = global {
            self.global = Some(global).filter(|global| !global.is_zero());
        }
        if let Some(per_try) = headers.remove(UPSTREAM_RQ_PER_TRY_TIMEOUT_MS).as_ref().and_then(milliseconds)
        {
            self.per_try = Some(per_try).filter(|per_try| !per_try.is_zero());
        }
    }

    /// Tells the host how long it has, when this much of the time is gone already.
    pub(crate) fn write(&self, headers: &mut HeaderMap, elapsed: Duration, suppress_envoy_headers: bool) {
        let Some(expected) = self.per_try.or(self.global) else { return };
        let expected = match self.global {
            // Where no time is left, zero would be for ever.
            Some(global) => match global.saturating_sub(elapsed) {
                Duration::ZERO => Duration::from_millis(1),
                left => expected.min(left),
            },
            None => expected,
        };
        if !suppress_envoy_headers {
            let value = match u64::try_from(expected.as_millis()).unwrap_or(u64::MAX) {
                // The usual one, which needs no memory.
                15_000 => HeaderValue::from_static("15000"),
                other => HeaderValue::from(other),
            };
            headers.insert(EXPECTED_RQ_TIMEOUT_MS.clone(), value);
        }
        if self.writes_grpc_timeout {
            grpc_timeout::write(headers, expected);
        }
    }
}

/// A number of milliseconds in a header. A malformed one is as good as none.
pub(crate) fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_millis)
}

/// The timeout of a gRPC request: what it asks for, up to a maximum that zero lifts.
fn asked_by_grpc(headers: &HeaderMap, max: Duration, offset: Option<Duration>) -> Option<Duration> {
    let mut timeout = grpc_timeout::read(headers).unwrap_or_default();
    if let Some(offset) = offset.filter(|offset| *offset < timeout) {
        timeout -= offset;
    }
    if !max.is_zero() && (timeout.is_zero() || timeout > max) {
        timeout = max;
    }
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn request(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    const ROUTE: RouteTimeouts = RouteTimeouts {
        global: Some(ms(15_000)),
        per_try: None,
        per_try_idle: None,
        superseded: false,
        max_grpc: None,
        grpc_offset: None,
    };

    fn written(timeouts: &Timeouts, elapsed: u64) -> String {
        let mut headers = HeaderMap::new();
        timeouts.write(&mut headers, ms(elapsed), false);
        headers.get(&EXPECTED_RQ_TIMEOUT_MS).map_or("-", |value| value.to_str().unwrap()).to_owned()
    }

    #[test]
    fn a_request_may_ask_for_other_timeouts_than_its_routes() {
        let mut headers = request(&[
            ("x-envoy-upstream-rq-timeout-ms", "5000"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "200"),
        ]);
        let timeouts = Timeouts::of_request(&ROUTE, &mut headers, true, false, false);
        assert_eq!((timeouts.global, timeouts.per_try), (Some(ms(5000)), Some(ms(200))));
        assert!(headers.is_empty());
        assert_eq!(
            [written(&timeouts, 0), written(&timeouts, 4900), written(&timeouts, 6000)],
            ["200", "100", "1"]
        );
        let mut headers = request(&[("x-envoy-upstream-rq-timeout-ms", "0")]);
        let timeouts = Timeouts::of_request(&ROUTE, &mut headers, true, false, false);
        assert_eq!((timeouts.global, written(&timeouts, 0)), (None, "-".to_owned()));
        let mut headers = request(&[("x-envoy-upstream-rq-timeout-ms", "soon")]);
        assert_eq!(Timeouts::of_request(&ROUTE, &mut headers, true, false, false).global, ROUTE.global);
    }

    #[test]
    fn a_try_that_may_take_as_long_as_everything_has_no_limit_of_its_own() {
        let route = RouteTimeouts { per_try: Some(ms(15_000)), ..ROUTE };
        assert_eq!(Timeouts::of_request(&route, &mut HeaderMap::new(), true, false, false).per_try, None);
    }

    #[test]
    fn what_a_proxy_before_decided_is_respected_if_that_is_asked_for() {
        let headers = || {
            request(&[("x-envoy-expected-rq-timeout-ms", "700"), ("x-envoy-upstream-rq-timeout-ms", "900")])
        };
        let respecting = Timeouts::of_request(&ROUTE, &mut headers(), true, false, true);
        let not = Timeouts::of_request(&ROUTE, &mut headers(), true, false, false);
        assert_eq!((respecting.global, not.global), (Some(ms(700)), Some(ms(900))));
    }

    #[test]
    fn a_grpc_request_says_itself_how_long_it_may_take() {
        let timeout = |asked: &'static str, max: u64, offset: Option<u64>| {
            let route = RouteTimeouts { max_grpc: Some(ms(max)), grpc_offset: offset.map(ms), ..ROUTE };
            let timeouts =
                Timeouts::of_request(&route, &mut request(&[("grpc-timeout", asked)]), true, true, false);
            let mut headers = HeaderMap::new();
            timeouts.write(&mut headers, Duration::ZERO, false);
            let written = headers.get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
            (timeouts.global, written.unwrap_or_default())
        };
        assert_eq!(timeout("2S", 0, None), (Some(ms(2000)), "2000m".to_owned()));
        assert_eq!(timeout("2S", 1000, None), (Some(ms(1000)), "1000m".to_owned()));
        assert_eq!(timeout("2S", 0, Some(500)), (Some(ms(1500)), "1500m".to_owned()));
        assert_eq!(timeout("9n", 0, None), (Some(ms(1)), "1m".to_owned()));
        assert_eq!(timeout("never", 0, None), (None, String::new()));
        assert_eq!(timeout("99999999H", 0, None).1, "99999999H");
    }
}
