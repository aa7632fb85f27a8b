//! What the filter notes; the values are what Envoy 1.40 notes.

use underpass_core::testing::TestServer;
use underpass_http::{local_reply::local_reply, testing};

use super::*;

fn config(fields: &str) -> String {
    format!(
        "{{'@type': type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, {fields}}}"
    )
}

/// The metadata as JSON, by namespace.
fn metadata(stream: &HttpStream) -> String {
    let metadata = stream.info.dynamic_metadata.borrow();
    let json = |values: &Struct| underpass_core::config::Value::Struct(values.clone()).to_json();
    let lines: Vec<String> =
        metadata.iter().map(|(namespace, values)| format!("{namespace} {}", json(values))).collect();
    lines.join("\n")
}

/// What a request with these headers leaves.
async fn noted(
    server: &TestServer,
    filter: &Arc<dyn HttpFilter>,
    headers: &[(&str, &str)],
) -> (String, Rc<HttpStream>) {
    let stream = testing::stream(server, testing::request("GET", "/p?q", headers));
    testing::serve(filter, &stream, Body::empty()).await;
    (metadata(&stream), stream)
}

const RULES: &str = r"stat_prefix: sp, request_rules: [
  {header: X, on_header_present: {key: k}, on_header_missing: {key: miss, value: v}},
  {header: n, on_header_present: {key: n, type: NUMBER}},
  {header: b, on_header_present: {key: b, encode: BASE64}},
  {header: v, on_header_present: {key: v, encode: BASE64, type: PROTOBUF_VALUE}},
  {cookie: c, on_header_present: {key: c}},
  {header: r, remove: true, on_header_present: {key: r, regex_value_rewrite: {pattern: {regex: '^(a)(.*)$'}, substitution: '\2-\1'}}},
  {header: ':path', on_header_present: {key: p}},
  {header: s, on_header_present: {key: s.t, metadata_namespace: other}}]";

#[tokio::test(flavor = "current_thread")]
async fn headers_and_cookies_become_values() {
    let server = TestServer::default();
    let filter = testing::build(&server, &config(RULES)).unwrap();
    let headers = [
        ("x", "a"),
        ("x", "b"),
        ("n", "1.5"),
        ("b", "aGk="),
        ("v", "IAE"),
        ("cookie", "c=\"q\"; d=1"),
        ("r", "abc"),
        ("s", "z"),
    ];
    let (metadata, stream) = noted(&server, &filter, &headers).await;
    insta::assert_snapshot!(metadata, @r#"
    envoy.filters.http.header_to_metadata {"b":"hi","c":"q","k":"a,b","n":1.5,"p":"/p?q","r":"bc-a","v":true}
    other {"s.t":"z"}
    "#);
    assert!(!stream.request().headers.contains_key("r"), "it was to be removed");
    assert_eq!(server.counter("http_filter_name.sp.request_rules_processed"), 8);
    assert_eq!(server.counter("http_filter_name.sp.request_metadata_added"), 8);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_of_no_use_is_left_out() {
    let server = TestServer::default();
    let filter = testing::build(&server, &config(RULES)).unwrap();
    let headers = [("n", "x"), ("b", "!!"), ("cookie", "c = 2 "), ("cookie", "c=3"), ("v", "////")];
    insta::assert_snapshot!(noted(&server, &filter, &headers).await.0, @r#"envoy.filters.http.header_to_metadata {"c":"3","miss":"v","p":"/p?q"}"#);
    let long = "x".repeat(8 * 1024);
    insta::assert_snapshot!(noted(&server, &filter, &[("x", &long), ("r", "")]).await.0, @r#"envoy.filters.http.header_to_metadata {"p":"/p?q"}"#);
    for (name, count) in
        [("base64_decode_failed", 1), ("header_value_too_long", 1), ("request_header_not_found", 1)]
    {
        assert_eq!(server.counter(&format!("http_filter_name.sp.{name}")), count, "{name}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn answers_have_rules_too_and_so_have_those_of_other_filters() {
    let server = TestServer::default();
    let rules = "response_rules: [{header: ':status', on_header_present: {key: s, type: NUMBER}}, \
                 {header: x, on_header_missing: {key: m, value: '1'}}]";
    let filter = testing::build(&server, &config(rules)).unwrap();
    let (seen, stream) = noted(&server, &filter, &[]).await;
    insta::assert_snapshot!(seen, @r#"envoy.filters.http.header_to_metadata {"m":"1","s":200}"#);
    filter.local_reply(&stream, &mut local_reply(&stream, http::StatusCode::FORBIDDEN, "", "x"));
    insta::assert_snapshot!(metadata(&stream), @r#"envoy.filters.http.header_to_metadata {"m":"1","s":403}"#);
}

#[tokio::test(flavor = "current_thread")]
async fn the_rules_of_a_route_stand_in_for_those_of_the_chain() {
    let server = TestServer::default();
    let rule =
        |key: &str| config(&format!("request_rules: [{{header: x, on_header_present: {{key: {key}}}}}]"));
    let filter = testing::build(&server, &rule("chain")).unwrap();
    let stream = testing::stream(&server, testing::request("GET", "/", &[("x", "1")]));
    testing::set_route_config(&server, &stream, &rule("route")).unwrap();
    testing::serve(&filter, &stream, Body::empty()).await;
    insta::assert_snapshot!(metadata(&stream), @r#"envoy.filters.http.header_to_metadata {"route":"1"}"#);
    insta::assert_snapshot!(testing::set_route_config(&server, &stream, &config("")).unwrap_err(), @r#"virtual_hosts[0].routes[0].typed_per_filter_config["filter"]: header_to_metadata_filter: Per filter configs must at least specify either request or response rules"#);
}

#[test]
fn rules_that_say_too_little_or_too_much_are_refused() {
    let refused = |rule: &str| {
        let config = config(&format!("request_rules: [{rule}]"));
        testing::build(&TestServer::default(), &config).err().unwrap_or_default()
    };
    insta::assert_snapshot!(refused("{header: x, cookie: c, on_header_present: {key: k}}"), @"request_rules[0]: Cannot specify both header and cookie in the same rule");
    insta::assert_snapshot!(refused("{on_header_present: {key: k}}"), @"request_rules[0]: One of Cookie or Header option needs to be specified");
    insta::assert_snapshot!(refused("{header: X-a}"), @"request_rules[0]: header to metadata filter: rule for header 'x-a' has neither `on_header_present` nor `on_header_missing` set");
    insta::assert_snapshot!(refused("{cookie: X-a}"), @"request_rules[0]: header to metadata filter: rule for cookie 'X-a' has neither `on_header_present` nor `on_header_missing` set");
    insta::assert_snapshot!(refused("{header: x, on_header_present: {key: k, value: v, regex_value_rewrite: {pattern: {regex: a}, substitution: b}}}"), @"request_rules[0]: Cannot specify both value and regex_value_rewrite");
    insta::assert_snapshot!(refused("{cookie: x, remove: true, on_header_present: {key: k}}"), @"request_rules[0]: Cannot specify remove for cookie");
    insta::assert_snapshot!(refused("{header: x, on_header_missing: {key: k}}"), @"request_rules[0]: Cannot specify on_header_missing rule with an empty value");
    insta::assert_snapshot!(refused("{header: 'x y', on_header_present: {key: k}}"), @r#"request_rules[0].header: "x y" is no name of a header"#);
}
