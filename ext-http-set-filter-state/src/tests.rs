//! What the filter leaves on requests.

use underpass_core::{
    filter_state::{Entry, SharedWithUpstream},
    testing::TestServer,
};
use underpass_http::testing;

use super::*;

/// A value with this object key, format, and further fields.
fn value(key: &str, format: &str, fields: &str) -> String {
    format!(
        "{{object_key: {key}, factory_key: envoy.string, format_string: {{text_format_source: {{inline_string: \
         '{format}'}}}}, {fields}}}"
    )
}

fn config(values: &[String], fields: &str) -> String {
    format!(
        "{{'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, \
         on_request_headers: [{}], {fields}}}",
        values.join(", ")
    )
}

fn text(stream: &HttpStream, name: &str) -> Option<String> {
    stream.info.filter_state.borrow().get(name).and_then(|object| object.serialize_as_string())
}

#[tokio::test(flavor = "current_thread")]
async fn values_are_made_of_the_request() {
    let server = TestServer::default();
    let values = [
        value("who", "%REQ(x-tenant)% at %REQ(:AUTHORITY)%", "shared_with_upstream: TRANSITIVE"),
        value("none", "%REQ(x-none)%", ""),
        value("skipped", "", "skip_if_empty: true"),
    ];
    let filter = testing::build(&server, &config(&values, "")).unwrap();
    let stream = testing::stream(&server, testing::request("GET", "/", &[("x-tenant", "blue")]));
    testing::serve(&filter, &stream, Body::empty()).await;
    assert_eq!(text(&stream, "who").as_deref(), Some("blue at example.com"));
    assert_eq!(text(&stream, "none").as_deref(), Some("-"));
    assert_eq!(text(&stream, "skipped"), None);
    let state = stream.info.filter_state.borrow();
    let entries: Vec<&Entry> = state.iter().map(|(_, entry)| entry).collect();
    assert!(entries.iter().all(|entry| entry.life_span == LifeSpan::FilterChain));
    assert_eq!(entries[1].shared_with_upstream, SharedWithUpstream::Transitive);
}

#[tokio::test(flavor = "current_thread")]
async fn a_route_has_the_last_word() {
    let server = TestServer::default();
    let filter =
        testing::build(&server, &config(&[value("k", "chain", ""), value("c", "chain", "")], "")).unwrap();
    let stream = testing::stream(&server, testing::request("GET", "/", &[]));
    testing::set_route_config(&server, &stream, &config(&[value("k", "route", "")], "")).unwrap();
    testing::serve(&filter, &stream, Body::empty()).await;
    assert_eq!((text(&stream, "k"), text(&stream, "c")), (Some("route".into()), Some("chain".into())));
}

/// Between the two looks, the path changes.
#[tokio::test(flavor = "current_thread")]
async fn the_route_can_be_looked_for_anew() {
    let server = TestServer::default();
    let routes = "name: r\nvirtual_hosts:\n- {name: v, domains: ['*'], routes: [\
                  {name: a, match: {prefix: /a}, route: {cluster: a}}, {name: b, match: {prefix: /}, route: {cluster: b}}]}";
    for (fields, expected) in [("", "a"), ("clear_route_cache: true", "b")] {
        let filter = testing::build(&server, &config(&[], fields)).unwrap();
        let stream = testing::stream(&server, testing::request("GET", "/a", &[]));
        testing::set_routes(&server, &stream, routes).unwrap();
        assert_eq!(&*stream.route().unwrap().name, "a");
        stream.request_mut().path = Some("/b".parse().unwrap());
        testing::serve(&filter, &stream, Body::empty()).await;
        assert_eq!(&*stream.route().unwrap().name, expected);
    }
}
