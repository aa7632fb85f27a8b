//! Which requests are too many; codes, headers and stats are those of Envoy 1.40.

use std::rc::Rc;

use underpass_core::testing::TestServer;
use underpass_http::{Body, HttpStream, Response, testing};

use super::*;

const ON: &str =
    "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}";
const ONE: &str = "token_bucket: {max_tokens: 1, fill_interval: 60s}";

fn config(fields: &str) -> String {
    format!(
        "{{'@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: x, \
         {fields}}}"
    )
}

async fn ask(filter: &Arc<dyn HttpFilter>, stream: &Rc<HttpStream>) -> Response {
    testing::serve(filter, stream, Body::empty()).await
}

/// The stats `enabled`, `ok`, `rate_limited`, `enforced` and `shadow_mode`.
fn stats(server: &TestServer) -> [u64; 5] {
    ["enabled", "ok", "rate_limited", "enforced", "shadow_mode"]
        .map(|name| server.counter(&format!("x.http_local_rate_limit.{name}")))
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("-", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_too_much_is_refused() {
    let server = TestServer::default();
    let fields = format!(
        "{ON}, {ONE}, enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true, \
         rate_limited_as_resource_exhausted: true, response_headers_to_add: [{{header: {{key: x-l, value: \
         '%RESPONSE_FLAGS%y'}}}}]"
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    let stream = |headers| testing::stream(&server, testing::request("GET", "/", headers));
    let first = ask(&filter, &stream(&[])).await;
    let limits = |response: &Response| {
        let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after", "x-l"];
        names.map(|name| header(response, name).to_owned()).join(" ")
    };
    assert_eq!((first.status().as_u16(), limits(&first)), (200, "1 0 60 - -".into()));
    let refused = stream(&[]);
    let second = ask(&filter, &refused).await;
    assert_eq!(limits(&second), "1 0 60 60 -y");
    assert_eq!(testing::text(second).await, (429, "local_rate_limited".into()));
    assert_eq!(refused.info.flags.get().to_string(), "RL");
    assert_eq!(refused.info.details.response_code_details.borrow().as_deref(), Some("local_rate_limited"));
    let grpc = ask(&filter, &stream(&[("content-type", "application/grpc")])).await;
    assert_eq!((grpc.status().as_u16(), header(&grpc, "grpc-status")), (200, "8"));
    assert_eq!(stats(&server), [3, 1, 2, 2, 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_limit_need_not_be_enforced_nor_looked_at() {
    let server = TestServer::default();
    let fields = format!(
        "{ONE}, filter_enabled: {{default_value: {{numerator: 100}}}}, request_headers_to_add_when_not_enforced: \
         [{{header: {{key: limited, value: '1'}}}}]"
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    let stream = testing::stream(&server, testing::request("GET", "/", &[]));
    for limited in ["-", "1"] {
        assert_eq!(ask(&filter, &stream).await.status().as_u16(), 200);
        assert_eq!(stream.request().get("limited").unwrap_or("-"), limited);
    }
    assert_eq!(stats(&server), [2, 1, 1, 0, 0]);
    let off = testing::build(&server, &config(ONE)).unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&off, &stream).await.status().as_u16(), 200);
    }
    assert_eq!(stats(&server), [2, 1, 1, 0, 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn kinds_of_requests_have_limits_of_their_own() {
    let server = TestServer::default();
    let by_user = "rate_limits: [{actions: [{request_headers: {header_name: u, descriptor_key: user}}]}]";
    let listed = "{entries: [{key: user, value: a}], token_bucket: {max_tokens: 1, fill_interval: 60s}}";
    let any = "{entries: [{key: user}], token_bucket: {max_tokens: 1, fill_interval: 60s}}";
    let fields = format!(
        "{ON}, token_bucket: {{max_tokens: 5, fill_interval: 60s}}, {by_user}, descriptors: [{listed}, {any}], \
         enable_x_ratelimit_headers: DRAFT_VERSION_03"
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    let mut seen = Vec::new();
    for user in ["a", "a", "b", "b", "c", "", "", ""] {
        let headers = [("u", user)];
        let headers = if user.is_empty() { &[][..] } else { &headers };
        let response = ask(&filter, &testing::stream(&server, testing::request("GET", "/", headers))).await;
        let (limit, remaining) =
            (header(&response, "x-ratelimit-limit"), header(&response, "x-ratelimit-remaining"));
        seen.push(format!("{} {limit} {remaining}", response.status().as_u16()));
    }
    // What a kind's own limit refuses takes nothing from that of all.
    assert_eq!(
        seen,
        ["200 1 0", "429 1 0", "200 1 0", "429 1 0", "200 1 0", "200 5 1", "200 5 0", "429 5 0"]
    );
}

#[tokio::test(flavor = "current_thread")]
async fn many_things_make_up_the_kind_of_a_request() {
    let server = TestServer::default();
    let actions = "{destination_cluster: {}}, {remote_address: {}}, {masked_remote_address: {v4_prefix_mask_len: 8}}, \
        {generic_key: {descriptor_value: '%G'}}, {query_parameters: {query_parameter_name: q, descriptor_key: q}}, \
        {header_value_match: {descriptor_value: yes, headers: [{name: h}], expect_match: false}}, \
        {query_parameter_value_match: {descriptor_value: yes, query_parameters: [{name: q}]}}, \
        {metadata: {descriptor_key: m, metadata_key: {key: n, path: [{key: a}]}, default_value: d}}, \
        {request_headers: {header_name: none, descriptor_key: none, skip_if_absent: true}}";
    let entries = "{key: destination_cluster, value: up}, {key: remote_address, value: 10.0.0.1}, \
        {key: masked_remote_address, value: 10.0.0.0/8}, {key: generic_key, value: '%G'}, {key: q, value: '1'}, \
        {key: header_match, value: 'yes'}, {key: query_match, value: 'yes'}, {key: m, value: d}";
    let fields = format!(
        "{ON}, token_bucket: {{max_tokens: 9, fill_interval: 60s}}, rate_limits: [{{actions: [{actions}]}}], \
         descriptors: [{{entries: [{entries}], token_bucket: {{max_tokens: 0, fill_interval: 60s}}}}]"
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    for (path, status) in [("/?q=1", 429), ("/?q=2", 200), ("/", 200)] {
        let stream = testing::stream(&server, testing::request("GET", path, &[]));
        let routes = "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: up}}]}]}";
        testing::set_routes(&server, &stream, routes).unwrap();
        assert_eq!(ask(&filter, &stream).await.status().as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn connections_and_routes_can_have_limits_of_their_own() {
    let server = TestServer::default();
    let fields = format!(
        "{ON}, {ONE}, local_rate_limit_per_downstream_connection: true, status: {{code: ServiceUnavailable}}"
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    // In the tests each stream has a connection.
    let streams = [(); 2].map(|()| testing::stream(&server, testing::request("GET", "/", &[])));
    for status in [200, 503] {
        for stream in &streams {
            assert_eq!(ask(&filter, stream).await.status().as_u16(), status);
        }
    }
    let shadow = "descriptors: [{entries: [{key: generic_key, value: k}], token_bucket: {max_tokens: 0, fill_interval: 1s}, \
                  shadow_mode: true}], rate_limits: [{actions: [{generic_key: {descriptor_value: k}}]}]";
    testing::set_route_config(&server, &streams[0], &config(&format!("{ON}, {ONE}, {shadow}"))).unwrap();
    assert_eq!(ask(&filter, &streams[0]).await.status().as_u16(), 200);
    assert_eq!(stats(&server)[4], 1);
    let refused = testing::set_route_config(&server, &streams[0], &config("")).unwrap_err();
    insta::assert_snapshot!(refused, @r#"virtual_hosts[0].routes[0].typed_per_filter_config["filter"]: local rate limit token bucket must be set for per filter configs"#);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let refused =
        |fields: &str| testing::build(&TestServer::default(), &config(fields)).err().unwrap_or_default();
    let descriptor = |interval: &str| {
        format!(
            "{{entries: [{{key: a, value: b}}], token_bucket: {{max_tokens: 1, fill_interval: {interval}}}}}"
        )
    };
    insta::assert_snapshot!(refused("token_bucket: {max_tokens: 1, fill_interval: 0.01s}"), @"token_bucket.fill_interval: local rate limit token bucket fill timer must be >= 50ms");
    insta::assert_snapshot!(refused(&format!("{ONE}, descriptors: [{}]", descriptor("0.01s"))), @"descriptors[0].token_bucket.fill_interval: local rate limit descriptor token bucket fill timer must be >= 50ms");
    insta::assert_snapshot!(refused(&format!("{ONE}, descriptors: [{0}, {0}]", descriptor("1s"))), @"descriptors[1]: duplicate descriptor in the local rate descriptor: a=b");
    insta::assert_snapshot!(refused(&format!("{ONE}, rate_limits: [{{stage: 1, actions: [{{remote_address: {{}}}}]}}]")), @"rate_limits[0]: 'stage' field and 'disable_key' field are not supported");
    insta::assert_snapshot!(refused(&format!("{ONE}, status: {{code: Teapot}}")), @r#"test.yaml:1:178: error: status.code: "Teapot" is no HTTP status"#);
}
