//! What the filter changes; the values are what Envoy 1.40 makes of the same.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use underpass_core::testing::TestServer;
use underpass_http::{BodyError, testing};

use super::*;

fn config(message: &str, fields: &str) -> String {
    format!(
        "{{'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.{message}, {fields}}}"
    )
}

fn append(key: &str, value: &str, action: &str) -> String {
    format!("{{append: {{header: {{key: {key}, value: '{value}'}}, append_action: {action}}}}}")
}

fn lines(headers: &HeaderMap) -> String {
    let line =
        |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    headers.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "current_thread")]
async fn mutations_of_headers_see_what_those_before_did() {
    let server = TestServer::default();
    let request = [
        append("a", "1", "APPEND_IF_EXISTS_OR_ADD"),
        "{remove: A}".into(),
        append("a", "2", "ADD_IF_ABSENT"),
        append("b", "%REQ(a)%x", "OVERWRITE_IF_EXISTS_OR_ADD"),
        append("none", "%REQ(nope)%", "APPEND_IF_EXISTS_OR_ADD"),
        append("absent", "1", "OVERWRITE_IF_EXISTS"),
        "{append: {header: {key: empty, value: ''}, keep_empty_value: true}}".into(),
        "{remove_on_match: {key_matcher: {prefix: x-rm}}}".into(),
        append("user-agent", "n", "APPEND_IF_EXISTS_OR_ADD"),
    ];
    let response = [
        append("r", "%RESPONSE_CODE% %RESP(server)% %REQ(a)%", "APPEND_IF_EXISTS_OR_ADD"),
        "{remove: server}".into(),
    ];
    let fields = format!(
        "mutations: {{request_mutations: [{}], response_mutations: [{}]}}",
        request.join(", "),
        response.join(", ")
    );
    let filter = testing::build(&server, &config("HeaderMutation", &fields)).unwrap();
    let head =
        testing::request("GET", "/", &[("a", "0"), ("x-rm-1", "q"), ("user-agent", "curl"), ("b", "old")]);
    let stream = testing::stream(&server, head);
    let response = testing::serve_with(&filter, &stream, Body::empty(), |stream, _| {
        stream.info.response_code.set(Some(200));
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("server", HeaderValue::from_static("up"));
        response
    });
    insta::assert_snapshot!(lines(response.await.headers()), @"r: 200 up 2");
    insta::assert_snapshot!(lines(&stream.request().headers), @"
    b: 2x
    empty: 
    user-agent: curl,n
    a: 2
    ");
}

#[tokio::test(flavor = "current_thread")]
async fn query_parameters_are_changed_and_sorted() {
    let server = TestServer::default();
    let one = |key: &str, value: &str, action: &str| {
        format!("{{append: {{record: {{key: {key}, value: '{value}'}}, action: {action}}}}}")
    };
    let list = [
        one("new", "a b%REQ(x-v)%", "APPEND_IF_EXISTS_OR_ADD"),
        one("dup", "2", "APPEND_IF_EXISTS_OR_ADD"),
        one("z", "9", "ADD_IF_ABSENT"),
        one("ow", "new", "OVERWRITE_IF_EXISTS"),
        one("no", "new", "OVERWRITE_IF_EXISTS"),
        one("or", "n&=w", "OVERWRITE_IF_EXISTS_OR_ADD"),
        "{remove: rm}".into(),
    ];
    let fields = format!("mutations: {{query_parameter_mutations: [{}]}}", list.join(", "));
    let filter = testing::build(&server, &config("HeaderMutation", &fields)).unwrap();
    for (path, expected) in [
        (
            "/p?z=1&ow=1&ow=2&rm=1&dup=1&enc=%20%2f+x&flag&or=1",
            "/p?dup=1&dup=2&enc=%20%2f+x&flag=&new=a%20b%26%25&or=n%26%3Dw&ow=new&z=1",
        ),
        ("/p?", "/p?dup=2&new=a%20b%26%25&or=n%26%3Dw&z=9"),
        ("/p?%72m=1", "/p?dup=2&new=a%20b%26%25&or=n%26%3Dw&z=9"),
    ] {
        let stream = testing::stream(&server, testing::request("GET", path, &[("x-v", "&%")]));
        testing::serve(&filter, &stream, Body::empty()).await;
        assert_eq!(stream.request().path(), expected, "{path}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn which_level_of_a_route_goes_last_can_be_chosen() {
    let server = TestServer::default();
    let level = |level: &str| {
        let fields = format!(
            "mutations: {{request_mutations: [{}]}}",
            append("level", level, "APPEND_IF_EXISTS_OR_ADD")
        );
        format!("typed_per_filter_config: {{filter: {}}}", config("HeaderMutationPerRoute", &fields))
    };
    let routes = format!(
        "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}, {}}}], \
         {}}}], {}}}",
        level("route"),
        level("host"),
        level("table")
    );
    for (fields, expected) in [
        ("", "level: route\nlevel: host\nlevel: table"),
        ("most_specific_header_mutations_wins: true", "level: table\nlevel: host\nlevel: route"),
    ] {
        let filter = testing::build(&server, &config("HeaderMutation", fields)).unwrap();
        let stream = testing::stream(&server, testing::request("GET", "/", &[]));
        testing::set_routes(&server, &stream, &routes).unwrap();
        testing::serve(&filter, &stream, Body::empty()).await;
        assert_eq!(lines(&stream.request().headers), expected);
    }
}

fn body_with_trailers() -> Body {
    let frames = [
        Frame::data(Bytes::from_static(b"x")),
        Frame::trailers(HeaderMap::from_iter([(
            http::HeaderName::from_static("t"),
            HeaderValue::from_static("1"),
        )])),
    ];
    Body::boxed(StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, BodyError>))))
}

#[tokio::test(flavor = "current_thread")]
async fn trailers_are_changed_if_there_are_some() {
    let server = TestServer::default();
    let list = |name: &str, more: &str| {
        format!("[{}{more}]", append(name, "%TRAILER(t)%.", "APPEND_IF_EXISTS_OR_ADD"))
    };
    let fields = format!(
        "mutations: {{request_trailers_mutations: {}, response_trailers_mutations: {}}}",
        list("q", ""),
        list("r", ", {remove: t}")
    );
    let filter = testing::build(&server, &config("HeaderMutation", &fields)).unwrap();
    let stream = testing::stream(&server, testing::request("POST", "/", &[]));
    // The upstream sends the trailers back.
    let chain = underpass_http::filter::FilterChain::of([("filter", filter), ("echo", Arc::new(Echo) as _)]);
    let response = chain.start(|_| None).run(&stream, body_with_trailers()).await;
    let collected = response.into_body().collect().await.unwrap();
    insta::assert_snapshot!(lines(collected.trailers().unwrap()), @"
    r: 1.
    q: .
    ");
}

/// Answers with the request's body.
struct Echo;

impl HttpFilter for Echo {
    fn serve<'a>(&'a self, _: &'a Rc<HttpStream>, body: Body, _: Next<'a>) -> BoxFuture<'a, Response> {
        Box::pin(async move { Response::new(body) })
    }
}

#[test]
fn what_cannot_be_changed_is_refused() {
    let refused = |list: &str, mutation: &str| {
        let config = config("HeaderMutation", &format!("mutations: {{{list}: [{mutation}]}}"));
        testing::build(&TestServer::default(), &config).err().unwrap_or_default()
    };
    insta::assert_snapshot!(refused("request_mutations", &append("':path'", "/", "ADD_IF_ABSENT")), @"mutations.request_mutations[0].append.header.key: :-prefixed or host headers may not be modified");
    insta::assert_snapshot!(refused("response_mutations", "{remove: 'a b'}"), @r#"mutations.response_mutations[0].remove: "a b" is no name of a header"#);
    insta::assert_snapshot!(refused("request_mutations", "{}"), @"test.yaml:1:128: error: mutations.request_mutations[0]: one of remove, append, remove_on_match must be set");
    insta::assert_snapshot!(refused("request_mutations", "{remove: ':path'}"), @"");
    insta::assert_snapshot!(refused("query_parameter_mutations", "{append: {}}"), @"mutations.query_parameter_mutations[0]: No record specified for append mutation.");
    insta::assert_snapshot!(refused("query_parameter_mutations", "{append: {record: {key: a, value: 1}}}"), @"mutations.query_parameter_mutations[0]: Only string value is allowed for record value.");
    insta::assert_snapshot!(refused("query_parameter_mutations", "{}"), @"mutations.query_parameter_mutations[0]: One of 'append'/'remove' must be specified.");
}
