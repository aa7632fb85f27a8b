//! Which route of a virtual host a request gets.

use std::rc::Rc;

use underpass_core::{
    config::{Struct, Value},
    filter_state::{Entry, LifeSpan, SharedWithUpstream, StringObject},
    runtime::Layer,
};

use super::*;

/// Routes by what they match, each named after its number; the last one matches everything that has a path.
fn by(matches: &[&str]) -> Routes {
    let route = |(number, condition): (usize, &&str)| {
        format!("{{name: '{number}', match: {condition}, non_forwarding_action: {{}}}}")
    };
    let routes: Vec<_> = matches.iter().enumerate().map(route).collect();
    Routes::of(&format!(
        "[{}, {{name: rest, match: {{prefix: ''}}, non_forwarding_action: {{}}}}]",
        routes.join(", ")
    ))
}

#[test]
fn a_path_matches_without_its_query() {
    let routes = by(&[
        "{path: /exact}",
        "{safe_regex: {regex: '/r[0-9]+'}}",
        "{path_separated_prefix: /a/b}",
        "{prefix: /CI, case_sensitive: false}",
        "{path: /CP, case_sensitive: false}",
        "{path_separated_prefix: /CS, case_sensitive: false}",
        "{prefix: /p?q}",
    ]);
    for (path, expected) in [
        ("/exact", "0"),
        ("/exact?x", "0"),
        ("/exact/", "rest"),
        ("/Exact", "rest"),
        ("/r1?x", "1"),
        ("/r1x", "rest"),
        ("/a/b", "2"),
        ("/a/b/", "2"),
        ("/a/b/c", "2"),
        ("/a/b?c", "2"),
        ("/a/bc", "rest"),
        ("/ci-x", "3"),
        ("/cp", "4"),
        ("/cp/", "rest"),
        ("/cs/x", "5"),
        ("/p?q", "rest"),
    ] {
        assert_eq!(routes.name(path), expected, "{path}");
    }
}

#[test]
fn parameters_of_the_path_do_not_matter_where_the_configuration_says_so() {
    let routes = Routes::new(
        "
ignore_path_parameters_in_path_matching: true
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - {match: {path: /a/b}, name: exact, non_forwarding_action: {}}
  - {match: {prefix: /p/q}, name: prefix, route: {cluster: c, prefix_rewrite: /new}}",
    );
    assert_eq!(routes.name("/a;x=1/b;y=2?z"), "exact");
    assert_eq!(routes.name("/a/b;c/d"), "-");
    assert_eq!(
        routes.upstream("/p/q;x/z?y", &[]),
        "/new;x/z?y example.com x-envoy-original-path: /p/q;x/z?y"
    );
    assert_eq!(
        routes.upstream("/p;x/q/z", &[]),
        "/p;x/q/z example.com ",
        "as in Envoy, what is not there stays"
    );
}

#[test]
fn a_connect_matches_nothing_but_its_own_matcher() {
    let routes =
        by(&["{connect_matcher: {}, headers: [{name: x, exact_match: '1'}]}", "{connect_matcher: {}}"]);
    let connect = |headers| routes.name_of(&request("CONNECT", "", headers));
    assert_eq!(connect(&[(":authority", "a:443")]), "1");
    assert_eq!(connect(&[(":authority", "a:443"), ("x", "1")]), "0");
    assert_eq!(routes.name("/"), "rest");
    assert_eq!(
        Routes::of("[{match: {prefix: ''}, non_forwarding_action: {}}]").name_of(&request(
            "CONNECT",
            "",
            &[(":authority", "a:443")]
        )),
        "-"
    );
}

#[test]
fn headers_parameters_and_cookies_have_to_match() {
    let routes = by(&[
        "{prefix: /h, headers: [{name: x-a, string_match: {exact: b}}, {name: ':method', exact_match: GET}]}",
        "{prefix: /m, headers: [{name: ':authority', exact_match: example.com}, {name: ':path', prefix_match: '/m/'}, {name: ':scheme', exact_match: http}]}",
        "{prefix: /m, headers: [{name: host}]}",
        "{prefix: /q, query_parameters: [{name: a, string_match: {exact: x}}]}",
        "{prefix: /q, query_parameters: [{name: b}]}",
        "{prefix: /q, query_parameters: [{name: c, present_match: false}]}",
        "{prefix: /c, cookies: [{name: k, string_match: {exact: v}}]}",
        "{prefix: /g, grpc: {}}",
        "{prefix: /i, cookies: [{name: k, string_match: {exact: v}, invert_match: true}]}",
        "{prefix: /t, tls_context: {presented: true}}",
        "{prefix: /t, tls_context: {validated: false}}",
    ]);
    for (path, headers, expected) in [
        ("/h", &[("x-a", "a")][..], "rest"),
        ("/h", &[("x-a", "a"), ("x-a", "b")], "0"),
        ("/h", &[("x-a", "a,b")], "rest"),
        ("/m/", &[], "1"),
        ("/m", &[], "2"),
        ("/q?a=x", &[], "3"),
        ("/q?a=x&a=y", &[], "3"),
        ("/q?a=y&a=x", &[], "5"),
        ("/q?a=%78", &[], "5"),
        ("/q?A=x", &[], "5"),
        ("/q?b", &[], "4"),
        ("/q?b=#a=x", &[], "4"),
        ("/q?c=1", &[], "rest"),
        ("/c", &[("cookie", "a=b; k=v")], "6"),
        ("/c", &[("cookie", "a=b"), ("cookie", "k=\"v\"")], "6"),
        ("/c", &[("cookie", "k=v2")], "rest"),
        ("/g", &[("content-type", "application/grpc")], "7"),
        ("/g", &[("content-type", "application/grpc+proto")], "7"),
        ("/g", &[("content-type", "application/grpc-web")], "rest"),
        ("/i", &[], "8"),
        ("/i", &[("cookie", "k=w; k=v")], "8"),
        ("/i", &[("cookie", "k=v; k=w")], "rest"),
        ("/t", &[], "10"),
    ] {
        assert_eq!(routes.name_of(&request("GET", path, headers)), expected, "{path} {headers:?}");
    }
}

#[test]
fn what_filters_learned_can_decide() {
    let routes = by(&[
        "{prefix: /, dynamic_metadata: [{filter: f, path: [{key: a}], value: {string_match: {exact: b}}}]}",
        "{prefix: /, filter_state: [{key: k, string_match: {prefix: v}}]}",
    ]);
    assert_eq!(routes.name("/"), "rest");
    let object = Rc::new(StringObject("value".into()));
    let (life_span, shared_with_upstream) = (LifeSpan::Request, SharedWithUpstream::None);
    let entry = Entry { object, read_only: false, life_span, shared_with_upstream };
    routes.info.filter_state.borrow_mut().set("k", entry).unwrap();
    assert_eq!(routes.name("/"), "1");
    let values = Struct::from_iter([("a".to_owned(), Value::String("b".into()))]);
    routes.info.dynamic_metadata.borrow_mut().set("f", values);
    assert_eq!(routes.name("/"), "0");
}

#[test]
fn a_fraction_of_the_requests_can_have_a_route_of_its_own() {
    let yaml = "virtual_hosts: [{name: v, domains: ['*'], routes: [
        {match: {prefix: /, runtime_fraction: {default_value: {numerator: 30}, runtime_key: k}}, name: some, non_forwarding_action: {}},
        {match: {prefix: /}, name: rest, non_forwarding_action: {}}]}]";
    let hits = |routes: &Routes| {
        let head = request("GET", "/", &[]);
        (0..100)
            .filter(|random| {
                routes.table.route(&head, &routes.info, *random).unwrap().name.as_ref() == "some"
            })
            .count()
    };
    let routes = Routes::new(yaml);
    assert_eq!(hits(&routes), 30);
    let values = [("k".to_owned(), Value::Number(70.0))].into_iter().collect();
    routes.server.context.runtime.set_layer(Layer { name: "admin".into(), admin: true, values });
    assert_eq!(hits(&routes), 70, "what the runtime says counts from the next request on");
}
