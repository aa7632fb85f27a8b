use underpass_core::{
    config::{Reader, parse_yaml},
    extension::ExtensionSet,
    testing::TestServer,
};

use super::*;
use crate::{local_reply::local_reply, testing};

const CONFIG: &str = "
mappers:
- filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 403, runtime_key: x}}}}
  status_code: 451
  body: {inline_string: not here}
  headers_to_add: [{header: {key: x-was, value: '%RESPONSE_CODE% %REQ(:path)%'}}]
- filter: {header_filter: {header: {name: accept, string_match: {exact: text/html}}}}
  body_format_override: {text_format_source: {inline_string: '<b>%LOCAL_REPLY_BODY%</b>'}, content_type: text/html}
- filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 500, runtime_key: x}}}}
  headers_to_add: [{header: {key: content-type, value: text/own}}]
body_format:
  json_format: {code: '%RESPONSE_CODE%', body: '%LOCAL_REPLY_BODY%', details: '%RESPONSE_CODE_DETAILS%'}
";

fn build(server: &TestServer, yaml: &str) -> Result<Option<LocalReplies>, String> {
    let document = parse_yaml("x.yaml", yaml).unwrap();
    let extensions = ExtensionSet::default();
    let reader = Reader::new(&extensions);
    let config: Option<LocalReplyConfig> =
        reader.read(&document.root, ConfigPath::root(), "test.LocalReplyConfig");
    let config = config.ok_or_else(|| reader.into_report().to_string())?;
    let built = server.build("", |context| LocalReplies::build(&config, &ConfigPath::root(), context));
    built.map_err(|error| error.to_string())
}

async fn answer(config: &str, headers: &[(&str, &str)], status: u16, body: &str) -> String {
    let server = TestServer::default();
    let stream = testing::stream(&server, testing::request("GET", "/p", headers));
    if let Some(replies) = build(&server, config).unwrap() {
        stream.set_local_replies(Arc::new(replies));
    }
    let answer = local_reply(&stream, StatusCode::from_u16(status).unwrap(), body, "why");
    let mut lines: Vec<String> = answer
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    lines.sort();
    let head = format!(
        "{} ({})\n{}",
        answer.status().as_u16(),
        stream.info.response_code.get().unwrap(),
        lines.concat()
    );
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    format!("{head}{}", String::from_utf8_lossy(&body))
}

/// As the real Envoy answers.
#[tokio::test(flavor = "current_thread")]
async fn the_first_mapper_that_matches_changes_an_answer() {
    insta::assert_snapshot!(answer(CONFIG, &[], 403, "no").await, @r#"
    451 (451)
    content-length: 47
    content-type: application/json
    x-was: 403 /p
    {"body":"not here","code":451,"details":"why"}
    "#);
    insta::assert_snapshot!(answer(CONFIG, &[("accept", "text/html")], 404, "gone").await, @"
    404 (404)
    content-length: 11
    content-type: text/html
    <b>gone</b>
    ");
    insta::assert_snapshot!(answer(CONFIG, &[], 500, "oops").await, @r#"
    500 (500)
    content-length: 43
    content-type: text/own
    {"body":"oops","code":500,"details":"why"}
    "#);
    insta::assert_snapshot!(answer(CONFIG, &[], 404, "").await, @r#"
    404 (404)
    content-length: 39
    content-type: application/json
    {"body":"","code":404,"details":"why"}
    "#);
}

#[tokio::test(flavor = "current_thread")]
async fn a_grpc_request_gets_the_changed_body_as_its_message() {
    insta::assert_snapshot!(answer(CONFIG, &[("content-type", "application/grpc")], 403, "no").await, @r#"
    200 (200)
    content-type: application/grpc
    grpc-message: {"body":"not here","code":451,"details":"why"}
    grpc-status: 2
    x-was: 403 /p
    "#);
}

#[tokio::test(flavor = "current_thread")]
async fn without_configuration_an_answer_is_plain_text() {
    insta::assert_snapshot!(answer("{}", &[], 403, "no").await, @"
    403 (403)
    content-length: 2
    content-type: text/plain
    no
    ");
    insta::assert_snapshot!(answer("{}", &[], 404, "").await, @"404 (404)");
}

#[test]
fn what_cannot_be_an_answer_is_refused() {
    let error = |yaml: &str| build(&TestServer::default(), yaml).unwrap_err();
    insta::assert_snapshot!(error("body_format: {text_format_source: {inline_string: '%NO%'}}"), @"body_format: Not supported field in StreamInfo: NO (at position 0 of `%NO%`)");
    insta::assert_snapshot!(error("mappers: [{filter: {not_health_check_filter: {}}, headers_to_add: [{header: {key: host, value: a}}]}]"), @"mappers[0].headers_to_add[0].header.key: :-prefixed or host headers may not be modified");
    insta::assert_snapshot!(error("mappers: [{filter: {not_health_check_filter: {}}, body: {filename: /no/such/file}}]"), @r#"mappers[0].body: cannot read the file "/no/such/file": No such file or directory (os error 2)"#);
}
