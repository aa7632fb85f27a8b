//! Headers that a message has once: a further value is joined to the present one with a comma.
//!
//! Envoy keeps these in places of their own, and so joins what other headers would have in several lines. It is visible
//! on the wire, and in what is read of `x-forwarded-for`.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What Envoy declares as inline headers of requests and responses, in `envoy/http/header_map.h` and by the custom
/// inline headers of the extensions in its binary; sorted.
const INLINE: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expect",
    "grpc-accept-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "keep-alive",
    "location",
    "origin",
    "proxy-connection",
    "referer",
    "server",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-ratelimited",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-service-time",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether a message has this header at most once.
pub fn is_inline(name: &HeaderName) -> bool {
    INLINE.binary_search(&name.as_str()).is_ok()
}

/// Adds a value to a header, in the way that the header has several.
pub fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if is_inline(name)
        && let Some(present) = headers.get_mut(name)
    {
        join(present, &value);
    } else {
        headers.append(name, value);
    }
}

/// Joins the lines of each inline header that came in several, and those of `cookie` (RFC 9113, section 8.2.3).
pub fn join_lines(headers: &mut HeaderMap) {
    if headers.keys_len() == headers.len() {
        return;
    }
    let repeated: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_inline(name) || **name == header::COOKIE)
        .filter(|name| headers.get_all(*name).iter().nth(1).is_some())
        .cloned()
        .collect();
    for name in repeated {
        let delimiter: &[u8] = if name == header::COOKIE { b"; " } else { b"," };
        let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&lines.join(delimiter)) {
            headers.insert(name, joined);
        }
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

    #[test]
    fn the_names_are_sorted() {
        assert!(INLINE.is_sorted());
    }

    #[test]
    fn an_inline_header_is_joined_and_another_gets_a_line() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("via", "a"), ("via", "b"), ("x-a", "1"), ("x-a", "2")] {
            append(&mut headers, &HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(headers.get_all("via").iter().collect::<Vec<_>>(), ["a,b"]);
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn lines_of_inline_headers_and_cookies_are_joined() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "1"),
            ("cookie", "a=1"),
            ("x-b", "1"),
            ("x-forwarded-for", "2"),
            ("cookie", "b=2"),
            ("x-b", "2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        join_lines(&mut headers);
        assert_eq!(
            (&headers["x-forwarded-for"], &headers["cookie"]),
            (&HeaderValue::from_static("1,2"), &HeaderValue::from_static("a=1; b=2"))
        );
        assert_eq!(headers.get_all("x-b").iter().count(), 2);
    }
}
