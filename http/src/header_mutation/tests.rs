use underpass_core::{
    address::Address,
    config::{Reader, parse_yaml},
    extension::ExtensionSet,
    testing::TestServer,
};

use super::*;

fn build(yaml: &str) -> Result<HeaderMutations, String> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Lists {
        request_headers_to_add: Vec<HeaderValueOption>,
        request_headers_to_remove: Vec<String>,
    }
    let document = parse_yaml("x.yaml", yaml).unwrap();
    let extensions = ExtensionSet::default();
    let reader = Reader::new(&extensions);
    let lists: Option<Lists> = reader.read(&document.root, ConfigPath::root(), "test.Lists");
    let lists = lists.ok_or_else(|| reader.into_report().to_string())?;
    let at = |field| ConfigPath::root().field(field);
    HeaderMutations::build(
        &lists.request_headers_to_add,
        &at("request_headers_to_add"),
        &lists.request_headers_to_remove,
        &at("request_headers_to_remove"),
    )
    .map_err(|error| error.to_string())
}

fn request(headers: &[(&'static str, &'static str)]) -> RequestHead {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    RequestHead {
        method: http::Method::GET,
        scheme: http::uri::Scheme::HTTP,
        authority: HeaderValue::from_static("a.example"),
        path: Some("/p".parse().unwrap()),
        headers: map,
        version: http::Version::HTTP_11,
    }
}

fn apply(yaml: &str, headers: &[(&'static str, &'static str)]) -> Vec<String> {
    let server = TestServer::default();
    let client = Address::from("10.0.0.1:5".parse::<std::net::SocketAddr>().unwrap());
    let info = server.stream(client.clone(), client);
    let mut head = request(headers);
    build(yaml).unwrap().apply_to_request(&mut head, &info);
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<String> = head.headers.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn each_append_action_does_what_its_name_says() {
    for (action, absent, present) in [
        ("APPEND_IF_EXISTS_OR_ADD", &["x-a: new"][..], &["x-a: new", "x-a: old"][..]),
        ("ADD_IF_ABSENT", &["x-a: new"], &["x-a: old"]),
        ("OVERWRITE_IF_EXISTS_OR_ADD", &["x-a: new"], &["x-a: new"]),
        ("OVERWRITE_IF_EXISTS", &[], &["x-a: new"]),
    ] {
        let yaml = format!(
            "request_headers_to_add: [{{header: {{key: X-A, value: new}}, append_action: {action}}}]"
        );
        assert_eq!(apply(&yaml, &[]), absent, "{action}");
        assert_eq!(apply(&yaml, &[("x-a", "old")]), present, "{action}");
    }
}

#[test]
fn removals_come_first_and_values_are_made_before_anything_is_added() {
    let yaml = "
request_headers_to_remove: [x-gone]
request_headers_to_add:
- {header: {key: x-gone-was, value: '<%REQ(x-gone)%>'}}
- {header: {key: x-a, value: '%REQ(:method)% %REQ(:path)%'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
- {header: {key: x-b, value: '%REQ(x-a)%'}}
- {header: {key: x-none, value: '%REQ(nothing)%'}}
- {header: {key: x-kept, value: '%REQ(nothing)%'}, keep_empty_value: true}
- {header: {key: x-percent, value: '50%%'}}";
    assert_eq!(
        apply(yaml, &[("x-gone", "1"), ("x-a", "old")]),
        ["x-a: GET /p", "x-b: old", "x-gone-was: <>", "x-kept: ", "x-percent: 50%"]
    );
}

#[test]
fn the_old_append_is_understood() {
    let yaml = "request_headers_to_add: [{header: {key: x-a, value: new}, append: false}]";
    assert_eq!(apply(yaml, &[("x-a", "old")]), ["x-a: new"]);
}

#[test]
fn what_may_not_be_changed_is_refused_in_envoys_words() {
    let add = |header: &str| build(&format!("request_headers_to_add: [{header}]")).unwrap_err();
    insta::assert_snapshot!(add("{header: {key: ':path', value: /}}"), @"request_headers_to_add[0].header.key: :-prefixed or host headers may not be modified");
    insta::assert_snapshot!(add("{header: {key: Host, value: a}}"), @"request_headers_to_add[0].header.key: :-prefixed or host headers may not be modified");
    insta::assert_snapshot!(add("{header: {key: a b, value: a}}"), @r#"request_headers_to_add[0].header.key: "a b" is no name of a header"#);
    insta::assert_snapshot!(add("{header: {key: a, value: '%REQUEST%'}}"), @"request_headers_to_add[0].header.value: Not supported field in StreamInfo: REQUEST (at position 0 of `%REQUEST%`)");
    insta::assert_snapshot!(add("{header: {key: a, value: x}, append: true, append_action: ADD_IF_ABSENT}"), @"request_headers_to_add[0].append: Both append and append_action are set and it's not allowed; append_action alone says it all");
    let remove = build("request_headers_to_remove: [x, ':path']").unwrap_err();
    insta::assert_snapshot!(remove, @"request_headers_to_remove[1]: :-prefixed or host headers may not be removed");
}
