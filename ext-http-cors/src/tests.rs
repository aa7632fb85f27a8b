//! What browsers are told; headers, details and stats are those of Envoy 1.40.

use underpass_core::testing::TestServer;
use underpass_http::{Body, Response, testing};

use super::*;

/// Fields of a route or a virtual host.
fn policy(fields: &str) -> String {
    let message = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy";
    format!("typed_per_filter_config: {{filter: {{'@type': {message}, {fields}}}}}")
}

const POLICY: &str = "allow_origin_string_match: [{exact: 'http://a'}], allow_methods: 'GET, PUT', allow_headers: x-a, \
    expose_headers: x-e, max_age: '600', allow_credentials: true, allow_private_network_access: true";

type Headers<'h> = &'h [(&'h str, &'h str)];

const FROM_A: (&str, &str) = ("origin", "http://a");
const FROM_B: (&str, &str) = ("origin", "http://b");
const PREFLIGHT: [(&str, &str); 2] =
    [("access-control-request-method", "GET"), ("access-control-request-headers", "x-q")];

/// Who answered, and the headers of the answer.
async fn ask(
    server: &TestServer,
    filter: &Arc<dyn HttpFilter>,
    routes: &str,
    method: &str,
    headers: Headers<'_>,
) -> String {
    let stream = testing::stream(server, testing::request(method, "/", headers));
    testing::set_routes(server, &stream, routes).unwrap();
    let response =
        testing::serve_with(filter, &stream, Body::empty(), |_, _| Response::new(Body::full("up"))).await;
    let details =
        stream.info.details.response_code_details.borrow().as_deref().unwrap_or("upstream").to_owned();
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("\n{}: {}", name.as_str().trim_start_matches("access-control-"), value.to_str().unwrap())
    };
    details + &response.headers().iter().map(line).collect::<Vec<_>>().concat()
}

/// One route to a cluster, with fields of its own and of its virtual host.
fn routes(route: &str, host: &str) -> String {
    let route = format!("{{match: {{prefix: /}}, route: {{cluster: up}}, {route}}}");
    format!("{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}], {host}}}]}}")
}

fn build(server: &TestServer) -> Arc<dyn HttpFilter> {
    testing::build(server, "'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors").unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn allowed_origins_are_told_so() {
    let server = TestServer::default();
    let (filter, routes) = (build(&server), routes("", &policy(POLICY)));
    insta::assert_snapshot!(ask(&server, &filter, &routes, "GET", &[]).await, @"upstream");
    insta::assert_snapshot!(ask(&server, &filter, &routes, "GET", &[FROM_A]).await, @"
    upstream
    allow-origin: http://a
    allow-credentials: true
    expose-headers: x-e
    ");
    insta::assert_snapshot!(ask(&server, &filter, &routes, "GET", &[FROM_B]).await, @"upstream");
    insta::assert_snapshot!(ask(&server, &filter, &routes, "OPTIONS", &[FROM_A]).await, @"
    upstream
    allow-origin: http://a
    allow-credentials: true
    expose-headers: x-e
    ");
    let counted =
        ["origin_valid", "origin_invalid"].map(|it| server.counter(&format!("http.test.cors.{it}")));
    assert_eq!(counted, [2, 1]);
}

#[tokio::test(flavor = "current_thread")]
async fn preflights_are_answered_here() {
    let server = TestServer::default();
    let (filter, host) = (build(&server), policy(POLICY));
    let preflight = |origin| [origin, PREFLIGHT[0], PREFLIGHT[1]];
    insta::assert_snapshot!(ask(&server, &filter, &routes("", &host), "OPTIONS", &preflight(FROM_A)).await, @"
    cors_response
    allow-origin: http://a
    allow-credentials: true
    allow-methods: GET, PUT
    allow-headers: x-a
    max-age: 600
    expose-headers: x-e
    ");
    let private = [FROM_A, PREFLIGHT[0], ("access-control-request-private-network", "true")];
    assert!(
        ask(&server, &filter, &routes("", &host), "OPTIONS", &private)
            .await
            .contains("allow-private-network: true")
    );
    insta::assert_snapshot!(ask(&server, &filter, &routes("", &host), "OPTIONS", &preflight(FROM_B)).await, @"upstream");
    let answered = policy(&format!("{POLICY}, forward_not_matching_preflights: false"));
    insta::assert_snapshot!(ask(&server, &filter, &routes("", &answered), "OPTIONS", &preflight(FROM_B)).await, @"
    cors_response
    allow-credentials: true
    allow-methods: GET, PUT
    allow-headers: x-a
    max-age: 600
    ");
    let star = policy("allow_origin_string_match: [{exact: '*'}], allow_methods: '*', allow_headers: '*'");
    insta::assert_snapshot!(ask(&server, &filter, &routes("", &star), "OPTIONS", &preflight(FROM_B)).await, @"
    cors_response
    allow-origin: http://b
    allow-methods: GET
    allow-headers: x-q
    ");
    let route = policy("allow_methods: PATCH");
    insta::assert_snapshot!(ask(&server, &filter, &routes(&route, &host), "OPTIONS", &preflight(FROM_A)).await, @"
    cors_response
    allow-origin: http://a
    allow-credentials: true
    allow-methods: PATCH
    allow-headers: x-a
    max-age: 600
    expose-headers: x-e
    ");
}

#[tokio::test(flavor = "current_thread")]
async fn a_policy_can_be_off_or_only_counted() {
    let server = TestServer::default();
    let filter = build(&server);
    let off = "filter_enabled: {default_value: {numerator: 0}}";
    let on = "{default_value: {numerator: 100}}";
    for (host, valid) in [
        (policy(&format!("{POLICY}, {off}")), 0),
        (String::new(), 0),
        (policy(&format!("{POLICY}, {off}, shadow_enabled: {on}")), 1),
    ] {
        assert_eq!(ask(&server, &filter, &routes("", &host), "GET", &[FROM_A]).await, "upstream", "{host}");
        assert_eq!(server.counter("http.test.cors.origin_valid"), valid);
    }
    let direct =
        routes("", &policy(POLICY)).replace("route: {cluster: up}", "direct_response: {status: 200}");
    assert_eq!(ask(&server, &filter, &direct, "GET", &[FROM_A]).await, "upstream", "it leads to no cluster");
}
