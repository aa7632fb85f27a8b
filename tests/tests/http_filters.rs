//! HTTP filters in a running proxy: what clients, origins, logs and operators see of them.

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Proxy, Start, With,
    config::{
        bootstrap, cluster, extension, filter_state, internal, internal_listener, internal_upstream,
        listener, log_to, port, tcp_proxy,
    },
    http_client::{Reply, ask, get},
    http_config::{hcm_with_filters, route, set_filter_state_on_request},
};

/// An HTTP filter by its message.
fn filter(message: &str, fields: Value) -> Value {
    extension(&format!("filters.http.{message}"), fields)
}

/// What a route or a virtual host says to the filter with that message.
fn says(to: &str, message: &str, fields: Value) -> Value {
    let config = filter(message, fields)["typed_config"].take();
    json!({ "typed_per_filter_config": { format!("filters.http.{to}"): config } })
}

/// A connection manager `entry` with these filters in front of an origin.
fn entry(
    origin: &HttpOrigin,
    filters: impl IntoIterator<Item = Value>,
    routes: impl IntoIterator<Item = Value>,
) -> Value {
    let manager = hcm_with_filters("entry", filters, routes);
    bootstrap([listener("entry", [manager])], [cluster("up", [port(origin.port())])])
}

/// The same with all requests to the origin.
fn through(origin: &HttpOrigin, filters: impl IntoIterator<Item = Value>) -> Proxy {
    Proxy::start(entry(origin, filters, [route("/", "up")]))
}

/// A request with more lines in its head.
#[track_caller]
fn send(proxy: &Proxy, method: &str, path: &str, lines: &[&str]) -> Reply {
    let lines: String = lines.iter().map(|line| (*line).to_owned() + "\r\n").collect();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n{lines}\r\n");
    ask(proxy.listener("entry"), &request)
}

/// All requests.
fn always() -> Value {
    json!({ "default_value": { "numerator": 100 } })
}

#[test]
fn filter_state_of_a_request_crosses_an_internal_listener() {
    let origin = HttpOrigin::start();
    let state = set_filter_state_on_request([filter_state("who", "envoy.string", "%REQ(x-who)%", "ONCE")]);
    let outer = hcm_with_filters("outer", [state], [route("/", "to_inner")]);
    let inner = tcp_proxy("inner", "up").with(log_to("inner.log", "%FILTER_STATE(who:PLAIN)%"));
    let to_inner =
        cluster("to_inner", [internal("inner")]).with(json!({ "transport_socket": internal_upstream(&[]) }));
    let config = bootstrap(
        [listener("entry", [outer]), internal_listener("inner", [inner])],
        [to_inner, cluster("up", [port(origin.port())])],
    );
    let mut proxy = Proxy::start(config);
    assert_eq!(send(&proxy, "GET", "/", &["x-who: me"]).status, 200);
    // The pooled connection is logged when it ends.
    proxy.stop();
    assert_eq!(proxy.lines("inner.log", 1), ["me"]);
}

#[test]
fn headers_become_metadata_that_logs_show() {
    let origin = HttpOrigin::start();
    let rules = json!({
        "request_rules": [
            { "header": "x-version", "remove": true,
              "on_header_present": { "metadata_namespace": "mine", "key": "version", "type": "NUMBER" },
              "on_header_missing": { "metadata_namespace": "mine", "key": "version", "value": "none" } },
            { "cookie": "user", "on_header_present": { "metadata_namespace": "mine", "key": "user" } },
        ],
        "response_rules": [{ "header": ":status", "on_header_present": { "metadata_namespace": "mine", "key": "status" } }],
    });
    let filters = [filter("header_to_metadata.v3.Config", rules)];
    let manager = hcm_with_filters("entry", filters, [route("/", "up")])
        .with(log_to("mine.log", "%DYNAMIC_METADATA(mine)%"));
    let proxy =
        Proxy::start(bootstrap([listener("entry", [manager])], [cluster("up", [port(origin.port())])]));
    let reply = send(&proxy, "GET", "/", &["x-version: 2", "cookie: a=b; user=\"me\""]);
    assert!(!reply.text().contains("x-version"), "it was to be removed: {}", reply.text());
    send(&proxy, "GET", "/status/404", &[]);
    let logged = [r#"{"status":"200","user":"me","version":2}"#, r#"{"status":"404","version":"none"}"#];
    assert_eq!(proxy.lines("mine.log", 2), logged);
}

#[test]
fn headers_and_parameters_are_changed_on_both_ways() {
    let origin = HttpOrigin::start();
    let append = |key: &str, value: &str| json!({ "append": { "header": { "key": key, "value": value } } });
    let mutations = |list: &str, mutations: Value| json!({ "mutations": { list: mutations } });
    let parameter = json!({ "append": { "record": { "key": "q", "value": "a b" }, "action": "OVERWRITE_IF_EXISTS_OR_ADD" } });
    let chain = json!({ "mutations": {
        "request_mutations": [append("x-path", "%REQ(:path)%"), { "remove": "x-gone" }],
        "query_parameter_mutations": [parameter],
        "response_mutations": [append("x-code", "%RESPONSE_CODE%")],
    }});
    let name = "header_mutation.v3.HeaderMutation";
    let per_route = mutations("response_mutations", json!([append("x-level", "route")]));
    let per_route = says(name, "header_mutation.v3.HeaderMutationPerRoute", per_route);
    let proxy = Proxy::start(entry(&origin, [filter(name, chain)], [route("/", "up").with(per_route)]));
    let reply = send(&proxy, "GET", "/p?q=1&a=2", &["x-gone: 1"]);
    assert_eq!((reply.header("x-code"), reply.header("x-level")), ("200", "route"));
    let seen = &origin.seen()[0];
    assert_eq!(
        (seen.target.as_str(), seen.header("x-path"), seen.header("x-gone")),
        ("/p?a=2&q=a%20b", "/p?q=1&a=2", "")
    );
}

#[test]
fn faults_are_injected_and_told_in_logs() {
    let origin = HttpOrigin::start();
    let all = json!({ "numerator": 100 });
    let fault = json!({
        "delay": { "fixed_delay": "0.1s", "percentage": all },
        "abort": { "http_status": 418, "percentage": all },
        "headers": [{ "name": "x-fault", "present_match": true }],
        "filter_metadata": { "why": "test" },
    });
    let message = "fault.v3.HTTPFault";
    let log = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(filters.http.fault.v3.HTTPFault)%";
    let manager = hcm_with_filters("entry", [filter(message, fault)], [route("/", "up")])
        .with(log_to("entry.log", log));
    let proxy =
        Proxy::start(bootstrap([listener("entry", [manager])], [cluster("up", [port(origin.port())])]));
    assert_eq!(get(proxy.listener("entry"), "/").status, 200);
    let reply = send(&proxy, "GET", "/", &["x-fault: 1"]);
    assert_eq!((reply.status, reply.text().as_str()), (418, "fault filter abort"));
    assert_eq!(
        proxy.lines("entry.log", 2),
        ["200 - via_upstream -", r#"418 DI,FI fault_filter_abort {"why":"test"}"#]
    );
    let stats = ["delays_injected", "aborts_injected", "active_faults", "faults_overflow"];
    assert_eq!(stats.map(|name| proxy.admin().stat(&format!("http.entry.fault.{name}"))), [1, 1, 0, 0]);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_rate_limit_is_one_for_all_workers() {
    let origin = HttpOrigin::start();
    let limit = json!({
        "stat_prefix": "limit", "filter_enabled": always(), "filter_enforced": always(),
        "token_bucket": { "max_tokens": 3, "fill_interval": "3600s" },
        "response_headers_to_add": [{ "header": { "key": "x-limited", "value": "yes" } }],
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
    });
    let config = entry(&origin, [filter("local_ratelimit.v3.LocalRateLimit", limit)], [route("/", "up")]);
    let proxy = Start::new(config).arguments(["--concurrency", "2"]).start();
    let replies: Vec<_> = (0..10).map(|_| get(proxy.listener("entry"), "/")).collect();
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429, 429, 429, 429, 429]);
    let last = &replies[9];
    let told = ["x-limited", "x-ratelimit-limit", "x-ratelimit-remaining"].map(|name| last.header(name));
    assert_eq!((last.text().as_str(), told), ("local_rate_limited", ["yes", "3", "0"]));
    let stats = ["enabled", "ok", "rate_limited", "enforced"];
    assert_eq!(
        stats.map(|it| proxy.admin().stat(&format!("limit.http_local_rate_limit.{it}"))),
        [10, 3, 7, 7]
    );
    assert_eq!(proxy.lines("entry.log", 10)[9], "429 RL local_rate_limited GET test.example /");
}

#[test]
fn who_may_ask_for_what_is_decided_by_rules() {
    let origin = HttpOrigin::start();
    let local = json!([{ "remote_ip": { "address_prefix": "127.0.0.0", "prefix_len": 8 } }]);
    let public = json!([{ "url_path": { "path": { "prefix": "/public" } } }]);
    let rules =
        json!({ "rules": { "policies": { "the public": { "permissions": public, "principals": local } } } });
    let (message, per_route) = ("rbac.v3.RBAC", json!({}));
    let open = route("/open", "up").with(says(message, "rbac.v3.RBACPerRoute", per_route));
    let proxy = Proxy::start(entry(&origin, [filter(message, rules)], [open, route("/", "up")]));
    assert_eq!(get(proxy.listener("entry"), "/public/a?b").status, 200);
    assert_eq!(get(proxy.listener("entry"), "/open").status, 200);
    let refused = get(proxy.listener("entry"), "/private?/public");
    assert_eq!((refused.status, refused.text().as_str()), (403, "RBAC: access denied"));
    assert_eq!(
        proxy.lines("entry.log", 3)[2],
        "403 - rbac_access_denied_matched_policy[none] GET test.example /private?/public"
    );
    let counted = ["allowed", "denied"].map(|name| proxy.admin().stat(&format!("http.entry.rbac.{name}")));
    assert_eq!(counted, [1, 1]);
}

#[test]
fn health_checks_pass_until_an_operator_says_otherwise() {
    let origin = HttpOrigin::start();
    let check = json!({
        "pass_through_mode": false,
        "headers": [{ "name": ":path", "string_match": { "exact": "/healthz" } }],
        "cluster_min_healthy_percentages": { "up": { "value": 100 } },
    });
    let proxy = through(&origin, [filter("health_check.v3.HealthCheck", check)]);
    assert_eq!(get(proxy.listener("entry"), "/healthz").status, 200);
    proxy.admin().post("/healthcheck/fail");
    assert_eq!(get(proxy.listener("entry"), "/healthz").status, 503);
    let other = get(proxy.listener("entry"), "/other");
    assert_eq!((other.status, other.header("x-envoy-immediate-health-check-fail")), (200, "true"));
    proxy.admin().post("/healthcheck/ok");
    assert_eq!(get(proxy.listener("entry"), "/other").header("x-envoy-immediate-health-check-fail"), "");
    assert_eq!(
        proxy.lines("entry.log", 4)[..2],
        [
            "200 - health_check_ok_cluster_healthy GET test.example /healthz",
            "503 LH health_check_failed GET test.example /healthz"
        ]
    );
    let counted =
        ["downstream_rq_total", "downstream_rq_completed", "tracing.health_check", "health_check.failed"];
    assert_eq!(counted.map(|name| proxy.admin().stat(&format!("http.entry.{name}"))), [4, 2, 2, 1]);
}

#[test]
fn a_request_is_passed_on_as_a_whole_or_not_at_all() {
    let origin = HttpOrigin::start();
    let proxy = through(&origin, [filter("buffer.v3.Buffer", json!({ "max_request_bytes": 10 }))]);
    let chunked = |chunks: &str| {
        let head = "POST /sink HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\r\n";
        ask(proxy.listener("entry"), &format!("{head}{chunks}0\r\n\r\n"))
    };
    assert_eq!(chunked("4\r\n0123\r\n6\r\n456789\r\n").text(), "10");
    let seen = &origin.seen()[0];
    assert_eq!((seen.header("content-length"), seen.header("transfer-encoding")), ("10", ""));
    let refused = chunked("4\r\n0123\r\n7\r\n4567890\r\n");
    assert_eq!((refused.status, refused.text().as_str()), (413, "Payload Too Large"));
    assert_eq!(refused.header("connection"), "close");
    assert_eq!(proxy.lines("entry.log", 2)[1], "413 - request_payload_too_large POST test.example /sink");
    assert_eq!(proxy.admin().stat("http.entry.downstream_rq_too_large"), 1);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn browsers_are_told_which_pages_may_use_a_route() {
    let origin = HttpOrigin::start();
    let policy = json!({
        "allow_origin_string_match": [{ "suffix": ".example" }], "allow_methods": "GET, PUT",
        "expose_headers": "x-e", "max_age": "600",
    });
    let message = "cors.v3.Cors";
    let allowed = route("/", "up").with(says(message, "cors.v3.CorsPolicy", policy));
    let proxy = Proxy::start(entry(&origin, [filter(message, json!({}))], [allowed]));
    let preflight = ["origin: http://a.example", "access-control-request-method: PUT"];
    let reply = send(&proxy, "OPTIONS", "/", &preflight);
    let told = ["allow-origin", "allow-methods", "max-age"]
        .map(|name| reply.header(&format!("access-control-{name}")).to_owned());
    assert_eq!((reply.status, told), (200, ["http://a.example", "GET, PUT", "600"].map(str::to_owned)));
    assert!(origin.seen().is_empty(), "it was answered on its behalf");
    let reply = send(&proxy, "GET", "/", &preflight[..1]);
    assert_eq!(reply.header("access-control-allow-origin"), "http://a.example");
    let other = send(&proxy, "GET", "/", &["origin: http://a.test"]);
    assert_eq!(other.header("access-control-allow-origin"), "");
    assert_eq!(proxy.lines("entry.log", 3)[0], "200 - cors_response OPTIONS test.example /");
    let counted =
        ["valid", "invalid"].map(|name| proxy.admin().stat(&format!("http.entry.cors.origin_{name}")));
    assert_eq!(counted, [2, 1]);
}

#[test]
fn routes_turn_filters_on_and_off() {
    let origin = HttpOrigin::start();
    let message = "rbac.v3.RBAC";
    // Nobody is let in.
    let closed = |disabled: bool| {
        let mut filter = filter(message, json!({ "rules": {} }));
        filter["disabled"] = disabled.into();
        filter
    };
    let turned = |fields: Value| {
        let config =
            json!({ "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig" }).with(fields);
        json!({ "typed_per_filter_config": { "filters.http.rbac.v3.RBAC": config } })
    };
    let routes = || {
        [
            route("/on", "up").with(turned(json!({ "config": {} }))),
            route("/off", "up").with(turned(json!({ "disabled": true }))),
            route("/", "up"),
        ]
    };
    for (disabled, expected) in [(false, [403, 200, 403]), (true, [403, 200, 200])] {
        let proxy = Proxy::start(entry(&origin, [closed(disabled)], routes()));
        let statuses = ["/on", "/off", "/"].map(|path| get(proxy.listener("entry"), path).status);
        assert_eq!(statuses, expected, "disabled: {disabled}");
    }
}
