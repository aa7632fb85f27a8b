//! Headers that a message has once: a further value is joined to the present one with a comma.
//!
//! Envoy keeps these in places of their own, and so joins what other headers would have in several lines. It is visible
//! on the wire, and in what is read of `x-forwarded-for`.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The inline headers of requests, sorted. Found by sending each known header twice through the real Envoy.
const OF_REQUESTS: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "proxy-connection",
    "proxy-status",
    "referer",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// The inline headers of answers, sorted.
const OF_RESPONSES: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "location",
    "proxy-connection",
    "proxy-status",
    "server",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

/// Whose headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A request's.
    Request,
    /// An answer's, or its trailers.
    Response,
}

/// Whether a message has this header at most once.
pub fn is_inline(side: Side, name: &HeaderName) -> bool {
    let names = match side {
        Side::Request => OF_REQUESTS,
        Side::Response => OF_RESPONSES,
    };
    names.binary_search(&name.as_str()).is_ok()
}

/// Adds a value to a header, in the way that the header has several.
pub fn append(side: Side, headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if is_inline(side, name)
        && let Some(present) = headers.get_mut(name)
    {
        join(present, &value);
    } else {
        headers.append(name, value);
    }
}

/// Joins the lines of each inline header that came in several.
pub fn join_lines(side: Side, headers: &mut HeaderMap) {
    if headers.keys_len() != headers.len() {
        let repeated = repeated(headers, |name| is_inline(side, name));
        repeated.iter().for_each(|name| join_lines_of(headers, name, b","));
    }
}

/// Joins the lines of `cookie`, which HTTP/2 may send in several (RFC 9113, section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        join_lines_of(headers, &header::COOKIE, b"; ");
    }
}

fn repeated(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    let several = |name: &&HeaderName| headers.get_all(*name).iter().nth(1).is_some();
    headers.keys().filter(|name| wanted(name)).filter(several).cloned().collect()
}

fn join_lines_of(headers: &mut HeaderMap, name: &HeaderName, delimiter: &[u8]) {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(delimiter)) {
        headers.insert(name, joined);
    }
}

/// Appends to a value, with a comma between the two.
pub fn join(present: &mut HeaderValue, value: &HeaderValue) {
    if present.is_empty() {
        present.clone_from(value);
    } else if !value.is_empty()
        && let Ok(joined) = HeaderValue::from_bytes(&[present.as_bytes(), value.as_bytes()].join(&b','))
    {
        *present = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h HeaderValue> {
        headers.get_all(name).iter().collect()
    }

    #[test]
    fn the_names_are_sorted() {
        assert!(OF_REQUESTS.is_sorted() && OF_RESPONSES.is_sorted());
    }

    #[test]
    fn an_inline_header_is_joined_and_another_gets_a_line() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("via", "a"), ("via", "b"), ("etag", "1"), ("etag", "2")] {
            append(
                Side::Request,
                &mut headers,
                &HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        assert_eq!(lines(&headers, "via"), ["a,b"]);
        assert_eq!(lines(&headers, "etag"), ["1", "2"]);
        join_lines(Side::Response, &mut headers);
        assert_eq!(lines(&headers, "etag"), ["1,2"]);
    }

    #[test]
    fn cookies_are_joined_by_semicolons() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1"));
        headers.append("cookie", HeaderValue::from_static("b=2"));
        join_lines(Side::Request, &mut headers);
        assert_eq!(lines(&headers, "cookie").len(), 2);
        join_cookies(&mut headers);
        assert_eq!(lines(&headers, "cookie"), ["a=1; b=2"]);
    }
}
