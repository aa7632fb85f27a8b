//! What health checks are answered; headers, details and stats are those of Envoy 1.40.

use std::rc::Rc;

use http::HeaderValue;
use underpass_core::testing::TestServer;
use underpass_http::{Body, HttpStream, Response, testing};

use super::*;

fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn HttpFilter>, String> {
    let message = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck";
    testing::build(
        server,
        &format!(
            "{{'@type': {message}, headers: [{{name: ':path', string_match: {{exact: /hc}}}}], {fields}}}"
        ),
    )
}

/// Who answered, with what: status, body, flags, details and headers.
async fn ask(server: &TestServer, filter: &Arc<dyn HttpFilter>, path: &str) -> (String, Rc<HttpStream>) {
    let stream = testing::stream(server, testing::request("GET", path, &[]));
    let response = testing::serve_with(filter, &stream, Body::full("body"), |_, _| {
        let mut response = Response::new(Body::full("upstream"));
        response.headers_mut().insert("x-envoy-degraded", HeaderValue::from_static("1"));
        response
    })
    .await;
    let names =
        ["x-envoy-degraded", "x-envoy-upstream-healthchecked-cluster", "x-envoy-immediate-health-check-fail"];
    let headers: Vec<String> = names
        .iter()
        .filter_map(|name| Some(format!("{name}={}", response.headers().get(*name)?.to_str().unwrap())))
        .collect();
    let (status, body) = testing::text(response).await;
    let details = stream.info.details.response_code_details.borrow().as_deref().unwrap_or("-").to_owned();
    (format!("{status} {body:?} {} {details} {}", stream.info.flags.get(), headers.join(" ")), stream)
}

fn stat(server: &TestServer, name: &str) -> u64 {
    server.counter(&format!("http.test.health_check.{name}"))
}

#[tokio::test(flavor = "current_thread")]
async fn health_checks_are_answered_here() {
    let server = TestServer::default();
    let filter = build(&server, "pass_through_mode: false").unwrap();
    let (answer, stream) = ask(&server, &filter, "/hc").await;
    insta::assert_snapshot!(answer, @r#"200 "" - health_check_ok x-envoy-upstream-healthchecked-cluster="#);
    assert!(stream.info.health_check.get());
    let (answer, stream) = ask(&server, &filter, "/x").await;
    insta::assert_snapshot!(answer, @r#"200 "upstream" - - x-envoy-degraded=1"#);
    assert!(!stream.info.health_check.get());
    server.context.health_checks.fail(true);
    insta::assert_snapshot!(ask(&server, &filter, "/hc").await.0, @r#"503 "" LH health_check_failed x-envoy-upstream-healthchecked-cluster= x-envoy-immediate-health-check-fail=true"#);
    insta::assert_snapshot!(ask(&server, &filter, "/x").await.0, @r#"200 "upstream" - - x-envoy-degraded=1 x-envoy-immediate-health-check-fail=true"#);
    let counted = ["request_total", "ok", "failed"].map(|name| stat(&server, name));
    assert_eq!(counted, [2, 1, 1]);
}

#[tokio::test(flavor = "current_thread")]
async fn the_upstream_may_answer_now_and_then() {
    let server = TestServer::default();
    let filter = build(&server, "pass_through_mode: true").unwrap();
    let first = ask(&server, &filter, "/hc").await.0;
    assert_eq!(first, ask(&server, &filter, "/hc").await.0);
    let filter = build(&server, "pass_through_mode: true, cache_time: 3600s").unwrap();
    insta::assert_snapshot!(ask(&server, &filter, "/hc").await.0, @r#"200 "upstream" - - x-envoy-degraded=1 x-envoy-upstream-healthchecked-cluster="#);
    insta::assert_snapshot!(ask(&server, &filter, "/hc").await.0, @r#"200 "" - health_check_cached x-envoy-degraded= x-envoy-upstream-healthchecked-cluster="#);
    server.context.health_checks.fail(true);
    insta::assert_snapshot!(ask(&server, &filter, "/hc").await.0, @r#"503 "" LH health_check_failed x-envoy-upstream-healthchecked-cluster= x-envoy-immediate-health-check-fail=true"#);
    let counted =
        ["request_total", "cached_response", "degraded", "ok", "failed"].map(|name| stat(&server, name));
    assert_eq!(counted, [2, 1, 1, 1, 1]);
}

/// Those that exist are for the end-to-end tests.
#[tokio::test(flavor = "current_thread")]
async fn a_cluster_that_does_not_exist_is_not_healthy() {
    let server = TestServer::default();
    let fields = "pass_through_mode: false, cluster_min_healthy_percentages: {none: {value: 0}}";
    let filter = build(&server, fields).unwrap();
    insta::assert_snapshot!(ask(&server, &filter, "/hc").await.0, @r#"503 "" LH health_check_failed_no_cluster_found x-envoy-upstream-healthchecked-cluster="#);
    assert_eq!(stat(&server, "failed_cluster_not_found"), 1);
}

#[test]
fn what_is_not_passed_on_is_not_cached() {
    let refused = |fields: &str| build(&TestServer::default(), fields).err().unwrap_or_default();
    insta::assert_snapshot!(refused("pass_through_mode: false, cache_time: 1s"), @"cache_time: cache_time_ms must not be set when path_through_mode is disabled");
    insta::assert_snapshot!(refused("cache_time: 1s"), @"test.yaml:1:1: error: `pass_through_mode` is missing");
}
