//! Whether an outcome is one of those that a request is tried again for.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>

use http::{HeaderMap, StatusCode};
use underpass_http::{reset::ResetReason, route::RetryOn};

/// Whether an answer asks for another attempt.
pub(crate) fn asks_for_answer(
    conditions: RetryOn,
    status: StatusCode,
    headers: &HeaderMap,
    is_retriable_status: impl FnOnce(u16) -> bool,
    has_retriable_header: impl FnOnce() -> bool,
) -> bool {
    // An answer of a rate limiter is retried only where that is asked for.
    if headers.contains_key("x-envoy-ratelimited") {
        return conditions.intersects(RetryOn::ENVOY_RATE_LIMITED);
    }
    let has = |condition| conditions.intersects(condition);
    has(RetryOn::SERVER_ERROR) && status.is_server_error()
        || has(RetryOn::GATEWAY_ERROR) && matches!(status.as_u16(), 502..=504)
        || has(RetryOn::RETRIABLE_4XX) && status == StatusCode::CONFLICT
        || has(RetryOn::RETRIABLE_STATUS_CODES) && is_retriable_status(status.as_u16())
        || has(RetryOn::RETRIABLE_HEADERS) && has_retriable_header()
        || grpc_status(headers).and_then(grpc_condition).is_some_and(has)
}

/// Whether a request without an answer asks for another attempt.
pub(crate) fn asks_for_reset(conditions: RetryOn, reason: ResetReason, request_was_sent: bool) -> bool {
    let has = |condition| conditions.intersects(condition);
    let by_reason = match reason {
        // What a circuit breaker refuses it would refuse again.
        ResetReason::Overflow => return false,
        ResetReason::LocalConnectionFailure
        | ResetReason::RemoteConnectionFailure
        | ResetReason::ConnectionTimeout => has(RetryOn::CONNECT_FAILURE),
        ResetReason::RemoteRefusedStreamReset => has(RetryOn::REFUSED_STREAM),
        _ => false,
    };
    by_reason
        || has(RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR | RetryOn::RESET)
        || has(RetryOn::RESET_BEFORE_REQUEST) && !request_was_sent
}

fn grpc_condition(status: u32) -> Option<RetryOn> {
    match status {
        1 => Some(RetryOn::GRPC_CANCELLED),
        4 => Some(RetryOn::GRPC_DEADLINE_EXCEEDED),
        8 => Some(RetryOn::GRPC_RESOURCE_EXHAUSTED),
        13 => Some(RetryOn::GRPC_INTERNAL),
        14 => Some(RetryOn::GRPC_UNAVAILABLE),
        _ => None,
    }
}

/// The `grpc-status` in headers or trailers.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn conditions(words: &str) -> RetryOn {
        RetryOn::parse(words) | RetryOn::parse_grpc(words)
    }

    #[test]
    fn answers_are_retried_by_status_header_and_grpc_status() {
        let asks = |words: &str, status: u16, headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            let status = StatusCode::from_u16(status).unwrap();
            let has_header = || map.contains_key("x-again");
            asks_for_answer(conditions(words), status, &map, |status| status == 418, has_header)
        };
        assert!(asks("5xx", 500, &[]) && !asks("gateway-error", 500, &[]) && asks("gateway-error", 503, &[]));
        assert!(asks("retriable-4xx", 409, &[]) && !asks("retriable-4xx", 404, &[]));
        assert!(asks("retriable-status-codes", 418, &[]) && !asks("5xx", 418, &[]));
        assert!(asks("retriable-headers", 200, &[("x-again", "")]));
        assert!(asks("unavailable", 200, &[("grpc-status", "14")]));
        assert!(!asks("unavailable", 200, &[("grpc-status", "13")]));
        assert!(!asks("5xx", 503, &[("x-envoy-ratelimited", "true")]));
        assert!(asks("envoy-ratelimited", 429, &[("x-envoy-ratelimited", "true")]));
    }

    #[test]
    fn requests_without_answer_are_retried_by_what_went_wrong() {
        use ResetReason::{
            ConnectionTermination, Overflow, RemoteConnectionFailure, RemoteRefusedStreamReset,
        };
        let asks = |words: &str, reason, sent| asks_for_reset(conditions(words), reason, sent);
        assert!(asks("connect-failure", RemoteConnectionFailure, false));
        assert!(!asks("connect-failure", ConnectionTermination, true));
        assert!(asks("refused-stream", RemoteRefusedStreamReset, true));
        assert!(asks("reset", ConnectionTermination, true) && asks("5xx", ConnectionTermination, true));
        assert!(asks("reset-before-request", ConnectionTermination, false));
        assert!(!asks("reset-before-request", ConnectionTermination, true));
        assert!(!asks("5xx,reset,connect-failure", Overflow, false));
    }
}
