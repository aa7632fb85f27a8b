//! What a request is made into before it goes upstream.

use http::HeaderValue;

use super::*;

#[test]
fn the_part_of_the_path_that_matched_is_replaced() {
    let routes = Routes::of(
        r"[
        {match: {prefix: /a/}, route: {cluster: c, prefix_rewrite: /}},
        {match: {path: /exact}, route: {cluster: c, prefix_rewrite: /x}},
        {match: {safe_regex: {regex: '/re/.*'}}, route: {cluster: c, prefix_rewrite: /x}},
        {match: {path_separated_prefix: /psp}, route: {cluster: c, prefix_rewrite: /q}},
        {match: {prefix: /CI, case_sensitive: false}, route: {cluster: c, prefix_rewrite: /ci}},
        {match: {prefix: /rx}, route: {cluster: c, regex_rewrite: {pattern: {regex: 'x(.)'}, substitution: '\1-'}}},
        {match: {prefix: /f}, route: {cluster: c, path_rewrite: '/%REQ(x-a)%'}},
        {match: {prefix: /sp}, route: {cluster: c, prefix_rewrite: '/with space'}}]",
    );
    for (path, expected) in [
        ("/a/b?c=1", "/b?c=1"),
        ("/a/", "/"),
        ("/exact?x=1", "/x?x=1"),
        ("/re/a?b", "/x?b"),
        ("/psp", "/q"),
        ("/psp/a?x", "/q/a?x"),
        ("/ci/X", "/ci/X"),
        ("/rx1/x2?x3", "/r1-/2-?x3"),
        ("/f?q", "/v?q"),
    ] {
        let expected = format!("{expected} example.com x-a: v; x-envoy-original-path: {path}");
        assert_eq!(routes.upstream(path, &[("x-a", "v")]), expected, "{path}");
    }
    assert_eq!(routes.upstream("/sp", &[]), "/sp example.com ", "what cannot be a path is not made one");
}

#[test]
fn the_host_is_replaced_and_the_old_one_noted() {
    let routes = Routes::of(
        r"[
        {match: {prefix: /literal}, route: {cluster: c, host_rewrite_literal: new}},
        {match: {prefix: /append}, route: {cluster: c, host_rewrite_literal: new, append_x_forwarded_host: true}},
        {match: {prefix: /header}, route: {cluster: c, host_rewrite_header: X-H}},
        {match: {prefix: /regex}, route: {cluster: c, host_rewrite_path_regex: {pattern: {regex: '^/regex/([^/]*).*$'}, substitution: '\1.h'}}},
        {match: {prefix: /format}, route: {cluster: c, host_rewrite: 'h-%REQ(x-h)%'}}]",
    );
    for (path, headers, expected) in [
        ("/literal", &[][..], "new x-envoy-original-host: example.com"),
        ("/append", &[], "new x-envoy-original-host: example.com; x-forwarded-host: example.com"),
        (
            "/append",
            &[("x-forwarded-host", "a")],
            "new x-envoy-original-host: example.com; x-forwarded-host: a,example.com",
        ),
        (
            "/append",
            &[("x-forwarded-host", "a"), ("x-forwarded-host", "example.com")],
            "new x-envoy-original-host: example.com; x-forwarded-host: a; x-forwarded-host: example.com",
        ),
        ("/header", &[], "example.com "),
        ("/header", &[("x-h", "h")], "h x-envoy-original-host: example.com; x-h: h"),
        ("/regex/foo/bar", &[], "foo.h x-envoy-original-host: example.com"),
        ("/format", &[("x-h", "h")], "h-h x-envoy-original-host: example.com; x-h: h"),
    ] {
        assert_eq!(routes.upstream(path, headers), format!("{path} {expected}"), "{path} {headers:?}");
    }
}

#[test]
fn the_router_can_put_in_the_name_of_the_host_it_picked() {
    let routes = Routes::of(
        "[{match: {prefix: /}, route: {cluster: c, auto_host_rewrite: true, append_x_forwarded_host: true}}]",
    );
    let mut head = request("GET", "/", &[]);
    let route = routes.find(&head).unwrap();
    let forward = route.forward().unwrap();
    assert!(forward.auto_host_rewrite);
    forward.rewrite_host_to(&mut head, HeaderValue::from_static("picked"), true);
    assert_eq!(head.authority(), "picked");
    assert_eq!(print(&head.headers), "x-envoy-original-host: example.com; x-forwarded-host: example.com");
}

/// One header is added and one overwritten on every level.
const LEVELS: &str = "
request_headers_to_add: [{header: {key: x-o, value: all}}, {header: {key: x-w, value: all}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
response_headers_to_add: [{header: {key: x-o, value: all}}]
response_headers_to_remove: [x-gone]
virtual_hosts:
- name: v
  domains: ['*']
  request_headers_to_add: [{header: {key: x-o, value: host}}, {header: {key: x-w, value: host}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
  request_headers_to_remove: [x-gone]
  response_headers_to_add: [{header: {key: x-o, value: host}}]
  routes:
  - match: {prefix: /}
    request_headers_to_add: [{header: {key: x-o, value: route}}, {header: {key: x-w, value: 'route %REQ(:path)% %REQ(:authority)%'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
    response_headers_to_add: [{header: {key: x-o, value: 'route %RESP(x-up)%'}}]
    route:
      prefix_rewrite: /new
      host_rewrite_literal: h
      weighted_clusters:
        clusters:
        - {name: c, weight: 1, request_headers_to_add: [{header: {key: x-o, value: cluster}}], response_headers_to_add: [{header: {key: x-o, value: cluster}}]}
";

#[test]
fn headers_are_changed_from_the_most_specific_level_to_the_least_specific_one() {
    let routes = Routes::new(LEVELS);
    assert_eq!(
        routes.upstream("/a", &[("x-gone", "1"), ("x-o", "own")]),
        "/newa h x-envoy-original-host: example.com; x-envoy-original-path: /a; x-o: own; x-o: cluster; x-o: route; \
         x-o: host; x-o: all; x-w: all"
    );
    let head = request("GET", "/", &[]);
    let mut headers = request("GET", "/", &[("x-gone", "1"), ("x-up", "up")]).headers;
    routes.find(&head).unwrap().finalize_response(&mut headers, http::StatusCode::OK, &head, &routes.info);
    assert_eq!(print(&headers), "x-o: cluster; x-o: route up; x-o: host; x-o: all; x-up: up");
}

#[test]
fn the_most_specific_level_can_have_the_last_word() {
    let routes = Routes::new(&format!("most_specific_header_mutations_wins: true\n{LEVELS}"));
    let upstream = routes.upstream("/a", &[]);
    assert!(
        upstream.ends_with("x-o: cluster; x-o: all; x-o: host; x-o: route; x-w: route /a example.com"),
        "{upstream}"
    );
}

#[test]
fn timeouts_and_the_like_have_envoys_defaults() {
    use std::time::Duration;

    use crate::route::{MaxStreamDuration, RetryOn};

    let routes = Routes::of(
        "[
        {match: {prefix: /default}, route: {cluster: c}},
        {match: {prefix: /}, route: {cluster: c, timeout: 0s, idle_timeout: 0s, priority: HIGH, max_stream_duration: {grpc_timeout_header_max: 5s},
          retry_policy: {retry_on: '5xx, nonsense,cancelled', per_try_timeout: 0s, retriable_status_codes: [418],
            rate_limited_retry_back_off: {reset_headers: [{name: Retry-After}, {name: x-reset, format: UNIX_TIMESTAMP}]}},
          upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true, proxy_protocol_config: {}}}, {upgrade_type: websocket, enabled: false}]}}]",
    );
    let route = |path| routes.find(&request("GET", path, &[])).unwrap();
    let default = route("/default");
    let default = default.forward().unwrap();
    assert_eq!((default.timeout, default.idle_timeout), (Some(Duration::from_secs(15)), None));
    assert!(default.retry_policy.is_none() && default.connect_config().is_none() && !default.high_priority);
    assert_eq!(default.upgrade("websocket"), None);
    let other = route("/");
    let other = other.forward().unwrap();
    assert_eq!((other.timeout, other.idle_timeout), (None, Some(Duration::ZERO)));
    let grpc_timeout_max = Some(Duration::from_secs(5));
    assert_eq!(other.max_stream_duration, Some(MaxStreamDuration { grpc_timeout_max, ..Default::default() }));
    assert_eq!((other.upgrade("WebSocket"), other.upgrade("connect")), (Some(false), Some(true)));
    assert!(other.connect_config().unwrap().allow_post && other.high_priority);
    let retry = other.retry_policy.as_ref().unwrap();
    assert_eq!(retry.retry_on, RetryOn::SERVER_ERROR | RetryOn::GRPC_CANCELLED);
    assert_eq!((retry.num_retries, retry.per_try_timeout, retry.back_off), (1, None, None));
    assert_eq!(
        retry.reset_headers.iter().map(|header| header.since_epoch).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn a_stream_lasts_as_long_as_its_route_and_a_grpc_client_say() {
    use std::time::Duration;

    let routes = Routes::of(
        "[
        {match: {prefix: /none}, route: {cluster: c}},
        {match: {prefix: /max}, route: {cluster: c, max_stream_duration: {max_stream_duration: 9s}}},
        {match: {prefix: /ever}, route: {cluster: c, max_stream_duration: {max_stream_duration: 0s}}},
        {match: {prefix: /grpc}, route: {cluster: c, max_stream_duration: {max_stream_duration: 9s, grpc_timeout_header_max: 5s, grpc_timeout_header_offset: 1s}}},
        {match: {prefix: /any}, route: {cluster: c, max_stream_duration: {grpc_timeout_header_max: 0s}}}]",
    );
    let duration = |path, asked: Option<&str>| {
        let mut head = request("POST", path, &[("content-type", "application/grpc")]);
        if let Some(asked) = asked {
            head.headers.insert("grpc-timeout", asked.parse().unwrap());
        }
        let route = routes.find(&head).unwrap();
        let duration = route.forward().unwrap().stream_duration(&mut head, Some(Duration::from_secs(60)));
        let told = head.get("grpc-timeout").unwrap_or("-");
        format!(
            "{} {told}",
            duration.map_or("ever".to_owned(), |duration| format!("{}ms", duration.as_millis()))
        )
    };
    assert_eq!(duration("/none", Some("3S")), "60000ms 3S");
    assert_eq!(duration("/max", Some("3S")), "9000ms 9000m");
    assert_eq!(duration("/ever", Some("3S")), "ever -");
    assert_eq!(duration("/grpc", Some("3S")), "2000ms 2000m");
    assert_eq!(duration("/grpc", Some("1H")), "4000ms 4000m");
    assert_eq!(duration("/grpc", Some("1m")), "0ms 0m");
    assert_eq!(duration("/grpc", None), "9000ms 9000m");
    assert_eq!(duration("/any", Some("1H")), "3600000ms 3600000m");
}

#[test]
fn routes_without_a_retry_policy_have_their_virtual_hosts() {
    let routes = Routes::new(
        "virtual_hosts: [{name: v, domains: ['*'], retry_policy: {retry_on: reset, num_retries: 7}, include_request_attempt_count: true, routes: [
          {match: {prefix: /own}, route: {cluster: c, retry_policy: {retry_on: 5xx}}},
          {match: {prefix: /}, route: {cluster: c}}]}]",
    );
    let retries = |path| {
        let route = routes.find(&request("GET", path, &[])).unwrap();
        assert!(route.virtual_host.include_request_attempt_count);
        route.forward().unwrap().retry_policy.as_ref().unwrap().num_retries
    };
    assert_eq!((retries("/own"), retries("/other")), (1, 7));
}
