//! Which requests get which faults; codes, flags and stats are those of Envoy 1.40.

use std::{rc::Rc, time::Duration};

use http_body_util::BodyExt as _;
use tokio::time::Instant;
use underpass_core::{
    config::{Struct, Value},
    runtime::Layer,
    testing::TestServer,
};
use underpass_http::{Body, HttpStream, Response, testing};

use super::*;

fn config(fields: &str) -> String {
    format!("{{'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, {fields}}}")
}

/// What became of a request: status, body, flags, details, and how many milliseconds it took.
async fn outcome(filter: &Arc<dyn HttpFilter>, stream: &Rc<HttpStream>) -> (String, u128) {
    let started = Instant::now();
    let response =
        testing::serve_with(filter, stream, Body::empty(), |_, _| Response::new(Body::full("up"))).await;
    let (status, body) = testing::text(response).await;
    let details = stream.info.details.response_code_details.borrow();
    let flags = stream.info.flags.get();
    let text = format!("{status} {body:?} {flags} {}", details.as_deref().unwrap_or("-"));
    (text, started.elapsed().as_millis())
}

/// The same, for a request with these headers to a filter of its own.
async fn of(fields: &str, headers: &[(&str, &str)]) -> (String, u128) {
    let server = TestServer::default();
    let filter = testing::build(&server, &config(fields)).unwrap();
    outcome(&filter, &testing::stream(&server, testing::request("GET", "/", headers))).await
}

const ALL: &str = "percentage: {numerator: 100}";
const PASSED: &str = "200 \"up\" - -";

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_request_is_delayed_and_then_aborted() {
    let both = format!("delay: {{fixed_delay: 0.3s, {ALL}}}, abort: {{http_status: 418, {ALL}}}");
    let aborted = r#"418 "fault filter abort" DI,FI fault_filter_abort"#;
    assert_eq!(of(&both, &[]).await, (aborted.into(), 300));
    assert_eq!(
        of(&format!("delay: {{fixed_delay: 1s, {ALL}}}"), &[]).await,
        ("200 \"up\" DI -".into(), 1000)
    );
    let never = "delay: {fixed_delay: 1s}, abort: {http_status: 500}";
    assert_eq!(of(never, &[]).await, (PASSED.into(), 0), "of nothing, nothing");
    let said = format!("abort: {{http_status: 503, response_body: gone, {ALL}}}");
    assert_eq!(of(&said, &[]).await.0, r#"503 "gone" FI fault_filter_abort"#);
    let grpc = format!("abort: {{grpc_status: 7, {ALL}}}");
    assert_eq!(of(&grpc, &[]).await.0, r#"200 "fault filter abort" FI fault_filter_abort"#);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_request_may_say_it_itself() {
    let fields = format!("delay: {{header_delay: {{}}, {ALL}}}, abort: {{header_abort: {{}}, {ALL}}}");
    let aborted =
        |status: u16, flags: &str| format!("{status} \"fault filter abort\" {flags} fault_filter_abort");
    let (delay, abort) = ("x-envoy-fault-delay-request", "x-envoy-fault-abort-request");
    assert_eq!(of(&fields, &[]).await, (PASSED.into(), 0));
    assert_eq!(of(&fields, &[(abort, "404"), (delay, "200")]).await, (aborted(404, "DI,FI"), 200));
    assert_eq!(of(&fields, &[("x-envoy-fault-abort-grpc-request", "5")]).await, (aborted(200, "FI"), 0));
    assert_eq!(of(&fields, &[(abort, "700"), (delay, "x")]).await, (PASSED.into(), 0));
    let percentage = ("x-envoy-fault-abort-request-percentage", "0");
    assert_eq!(of(&fields, &[(abort, "500"), percentage]).await, (PASSED.into(), 0));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn only_some_requests_are_concerned() {
    let server = TestServer::default();
    let fields = format!(
        "abort: {{http_status: 500, {ALL}}}, upstream_cluster: up, downstream_nodes: [n], headers: [{{name: q, string_match: \
         {{exact: '1'}}}}]"
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    let routes = "name: r\nvirtual_hosts: [{name: v, domains: ['*'], routes: [\
                  {match: {prefix: /other}, route: {cluster: other}}, {match: {prefix: /}, route: {cluster: up}}]}]";
    let node = ("x-envoy-downstream-service-node", "n");
    for (path, headers, concerned) in [
        ("/", &[node, ("q", "1")][..], true),
        ("/other", &[node, ("q", "1")], false),
        ("/", &[node], false),
        ("/", &[("q", "1")], false),
    ] {
        let stream = testing::stream(&server, testing::request("GET", path, headers));
        testing::set_routes(&server, &stream, routes).unwrap();
        let aborted = outcome(&filter, &stream).await.0.starts_with("500");
        assert_eq!(aborted, concerned, "{path} {headers:?}");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn faults_are_counted_and_limited() {
    let server = TestServer::default();
    let fields =
        format!("delay: {{fixed_delay: 1s, {ALL}}}, max_active_faults: 1, filter_metadata: {{why: test}}");
    let filter = testing::build(&server, &config(&fields)).unwrap();
    let stream = |headers| testing::stream(&server, testing::request("GET", "/", headers));
    let (first, second) = (stream(&[("x-envoy-downstream-service-cluster", "me")]), stream(&[]));
    let stat = |name: &str| server.find_stat(&format!("http.test.fault.{name}")).unwrap();
    let waiting = outcome(&filter, &first);
    let other = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(stat("active_faults"), 1);
        outcome(&filter, &second).await
    };
    let (delayed, passed) = tokio::join!(waiting, other);
    assert_eq!((delayed.1, passed), (1000, (PASSED.into(), 0)));
    assert_eq!((stat("active_faults"), stat("faults_overflow"), stat("delays_injected")), (0, 1, 1));
    assert_eq!(stat("me.delays_injected"), 1);
    let metadata = first.info.dynamic_metadata.borrow();
    assert_eq!(metadata.get("filter", &["why"]).and_then(Value::as_str), Some("test"));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn an_answer_can_be_slow() {
    let server = TestServer::default();
    let filter = testing::build(
        &server,
        &config(&format!("response_rate_limit: {{fixed_limit: {{limit_kbps: 1}}, {ALL}}}")),
    );
    let filter = filter.unwrap();
    let stream = testing::stream(&server, testing::request("GET", "/", &[]));
    let started = Instant::now();
    let response = testing::serve_with(&filter, &stream, Body::empty(), |_, _| {
        Response::new(Body::full("x".repeat(1500)))
    })
    .await;
    assert_eq!(server.find_stat("http.test.fault.active_faults"), Some(1));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 1500);
    // 1500 bytes are 24 pieces, of which the first one does not wait.
    assert_eq!(started.elapsed().as_millis() / 10, 143);
    assert_eq!(server.find_stat("http.test.fault.active_faults"), Some(0));
    assert_eq!(server.find_stat("http.test.fault.response_rl_injected"), Some(1));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_runtime_and_routes_have_their_say() {
    let keys =
        [("fault.http.abort.abort_percent", 0.0), ("mine", 100.0), ("fault.http.abort.http_status", 429.0)];
    let keys = Struct::from_iter(keys.map(|(key, value)| (key.to_owned(), Value::Number(value))));
    let server = TestServer::with_runtime(vec![Layer::from_struct("l", &keys)]);
    let abort = format!("abort: {{http_status: 500, {ALL}}}");
    let filter = testing::build(&server, &config(&abort)).unwrap();
    let stream = testing::stream(&server, testing::request("GET", "/", &[]));
    assert_eq!(outcome(&filter, &stream).await.0, PASSED);
    let route = config("abort: {http_status: 500}, abort_percent_runtime: mine");
    testing::set_route_config(&server, &stream, &route).unwrap();
    assert!(outcome(&filter, &stream).await.0.starts_with("429"));
}

#[test]
fn what_is_no_fault_is_refused() {
    let refused =
        |fields: &str| testing::build(&TestServer::default(), &config(fields)).err().unwrap_or_default();
    insta::assert_snapshot!(refused("abort: {http_status: 199}"), @"test.yaml:1:102: error: abort.http_status: value must be inside range [200, 599], not 199");
    insta::assert_snapshot!(refused("abort: {http_status: 500, grpc_status: 1}"), @"test.yaml:1:88: error: abort: only one of http_status, grpc_status can be set (error_type)");
    insta::assert_snapshot!(refused("delay: {}"), @"test.yaml:1:88: error: delay: one of fixed_delay, header_delay must be set (fault_delay_secifier)");
    insta::assert_snapshot!(refused("response_rate_limit: {fixed_limit: {limit_kbps: 0}}"), @"test.yaml:1:129: error: response_rate_limit.fixed_limit.limit_kbps: value must be inside range [1, 18446744073709551615], not 0");
}
