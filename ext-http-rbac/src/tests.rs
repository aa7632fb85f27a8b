//! Who is let in; details, stats and metadata are those of Envoy 1.40.

use std::rc::Rc;

use underpass_core::{
    config::{Struct, Value},
    filter_state::{Entry, LifeSpan, SharedWithUpstream, StringObject},
    testing::TestServer,
};
use underpass_http::{Body, HttpStream, testing};

use super::*;

fn config(fields: &str) -> String {
    format!("{{'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, {fields}}}")
}

/// A policy with one permission and one principal.
fn policy(name: &str, permission: &str, principal: &str) -> String {
    format!("'{name}': {{permissions: [{permission}], principals: [{principal}]}}")
}

const ANY: &str = "{any: true}";

/// Status, details and metadata.
async fn outcome(filter: &Arc<dyn HttpFilter>, stream: &Rc<HttpStream>) -> String {
    let (status, body) = testing::text(testing::serve(filter, stream, Body::empty()).await).await;
    let details = stream.info.details.response_code_details.borrow();
    let metadata = stream.info.dynamic_metadata.borrow();
    let metadata: Vec<String> =
        metadata.iter().map(|(_, values)| Value::Struct(values.clone()).to_json()).collect();
    format!("{status} {body:?} {} {}", details.as_deref().unwrap_or("-"), metadata.join(" "))
}

async fn get(server: &TestServer, filter: &Arc<dyn HttpFilter>, path: &str) -> String {
    outcome(filter, &testing::stream(server, testing::request("GET", path, &[]))).await
}

#[tokio::test(flavor = "current_thread")]
async fn rules_allow_deny_or_mark() {
    let server = TestServer::default();
    let rules = |action: &str, name: &str| {
        let path = "{url_path: {path: {prefix: /a}}}";
        config(&format!("rules: {{action: {action}, policies: {{{}}}}}", policy(name, path, ANY)))
    };
    let filter = testing::build(&server, &rules("ALLOW", "my pol")).unwrap();
    insta::assert_snapshot!(get(&server, &filter, "/a?b").await, @r#"200 "" - {"enforced_effective_policy_id":"my pol","enforced_engine_result":"allowed"}"#);
    insta::assert_snapshot!(get(&server, &filter, "/b?/a").await, @r#"403 "RBAC: access denied" rbac_access_denied_matched_policy[none] {"enforced_engine_result":"denied"}"#);
    assert_eq!((server.counter("http.test.rbac.allowed"), server.counter("http.test.rbac.denied")), (1, 1));
    let filter = testing::build(&server, &rules("DENY", "my pol")).unwrap();
    insta::assert_snapshot!(get(&server, &filter, "/a").await, @r#"403 "RBAC: access denied" rbac_access_denied_matched_policy[my_pol] {"enforced_effective_policy_id":"my pol","enforced_engine_result":"denied"}"#);
    insta::assert_snapshot!(get(&server, &filter, "/b").await, @r#"200 "" - {"enforced_engine_result":"allowed"}"#);
    let filter = testing::build(&server, &rules("LOG", "p")).unwrap();
    insta::assert_snapshot!(get(&server, &filter, "/a").await, @r#"200 "" - {"access_log_hint":true} {"enforced_effective_policy_id":"p","enforced_engine_result":"allowed"}"#);
    insta::assert_snapshot!(get(&server, &filter, "/b").await, @r#"200 "" - {"access_log_hint":false} {"enforced_engine_result":"allowed"}"#);
    let filter = testing::build(&server, &config("")).unwrap();
    insta::assert_snapshot!(get(&server, &filter, "/b").await, @r#"200 "" -"#);
    let filter = testing::build(&server, &config("rules: {}")).unwrap();
    insta::assert_snapshot!(get(&server, &filter, "/b").await, @r#"403 "RBAC: access denied" rbac_access_denied_matched_policy[none] {"enforced_engine_result":"denied"}"#);
}

#[tokio::test(flavor = "current_thread")]
async fn shadow_rules_are_only_noted() {
    let server = TestServer::default();
    let fields = format!(
        "shadow_rules: {{policies: {{{}}}}}, shadow_rules_stat_prefix: sp, rules: {{action: DENY, policies: {{{}}}}}, \
         rules_stat_prefix: rp., track_per_rule_stats: true",
        policy("p", "{url_path: {path: {exact: /a}}}", ANY),
        policy("z z", "{url_path: {path: {exact: /c}}}", ANY),
    );
    let filter = testing::build(&server, &config(&fields)).unwrap();
    insta::assert_snapshot!(get(&server, &filter, "/a").await, @r#"200 "" - {"rp.enforced_engine_result":"allowed","spshadow_effective_policy_id":"p","spshadow_engine_result":"allowed"}"#);
    insta::assert_snapshot!(get(&server, &filter, "/c").await, @r#"403 "RBAC: access denied" rbac_access_denied_matched_policy[z_z] {"rp.enforced_effective_policy_id":"z z","rp.enforced_engine_result":"denied","spshadow_engine_result":"denied"}"#);
    for (name, count) in [
        ("rp.allowed", 1),
        ("rp.denied", 1),
        ("rp.policy.z z.denied", 1),
        ("sp.shadow_allowed", 1),
        ("sp.shadow_denied", 1),
        ("sp.policy.p.shadow_allowed", 1),
    ] {
        assert_eq!(server.counter(&format!("http.test.rbac.{name}")), count, "{name}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_route_has_rules_of_its_own_or_none() {
    let server = TestServer::default();
    let filter = testing::build(&server, &config("rules: {}")).unwrap();
    for (per_route, status) in [
        ("", "200"),
        (
            "rbac: {rules: {action: DENY, policies: {q: {permissions: [{any: true}], principals: [{any: true}]}}}}",
            "403",
        ),
        ("rbac: {rules: {action: DENY}}", "200"),
    ] {
        let stream = testing::stream(&server, testing::request("GET", "/", &[]));
        let message = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
        testing::set_route_config(&server, &stream, &format!("{{'@type': {message}, {per_route}}}")).unwrap();
        assert!(outcome(&filter, &stream).await.starts_with(status), "{per_route}");
    }
}

/// The stream is from 10.0.0.1:1234 to 127.0.0.1:80.
#[tokio::test(flavor = "current_thread")]
async fn permissions_and_principals_look_at_everything() {
    let server = TestServer::default();
    let yes = |permission: &str, principal: &str| (permission.to_owned(), principal.to_owned(), true);
    let no = |permission: &str, principal: &str| (permission.to_owned(), principal.to_owned(), false);
    let range = |prefix: &str, bits: u8| format!("{{address_prefix: {prefix}, prefix_len: {bits}}}");
    let metadata = "{filter: ns, path: [{key: k}], value: {string_match: {exact: v}}}";
    for (permission, principal, expected) in [
        yes(ANY, ANY),
        yes("{and_rules: {rules: [{any: true}, {header: {name: x}}]}}", ANY),
        no("{and_rules: {rules: [{any: true}, {header: {name: y}}]}}", ANY),
        yes(
            "{or_rules: {rules: [{header: {name: y}}, {header: {name: ':method', string_match: {exact: GET}}}]}}",
            ANY,
        ),
        yes("{not_rule: {header: {name: y}}}", ANY),
        yes(&format!("{{destination_ip: {}}}", range("127.0.0.0", 8)), ANY),
        no(&format!("{{destination_ip: {}}}", range("10.0.0.0", 8)), ANY),
        yes("{destination_port: 80}", ANY),
        no("{destination_port: 81}", ANY),
        yes("{destination_port_range: {start: 80, end: 81}}", ANY),
        no("{destination_port_range: {start: 79, end: 80}}", ANY),
        yes(&format!("{{metadata: {metadata}}}"), ANY),
        yes(&format!("{{sourced_metadata: {{metadata_matcher: {metadata}}}}}"), ANY),
        no(&format!("{{sourced_metadata: {{metadata_matcher: {metadata}, metadata_source: ROUTE}}}}"), ANY),
        yes("{requested_server_name: {exact: ''}}", ANY),
        yes(ANY, "{and_ids: {ids: [{any: true}, {header: {name: x}}]}}"),
        yes(ANY, "{or_ids: {ids: [{header: {name: y}}, {header: {name: x}}]}}"),
        no(ANY, "{not_id: {header: {name: x}}}"),
        no(ANY, "{authenticated: {}}"),
        yes(ANY, &format!("{{source_ip: {}}}", range("10.0.0.1", 32))),
        yes(ANY, &format!("{{direct_remote_ip: {}}}", range("10.0.0.1", 32))),
        no(ANY, &format!("{{remote_ip: {}}}", range("11.0.0.0", 8))),
        yes(ANY, "{url_path: {path: {exact: /p}}}"),
        yes(ANY, &format!("{{metadata: {metadata}}}")),
        yes(ANY, "{filter_state: {key: s, string_match: {exact: t}}}"),
        no(ANY, "{filter_state: {key: s, string_match: {exact: u}}}"),
    ] {
        let rules = format!("rules: {{policies: {{{}}}}}", policy("p", &permission, &principal));
        let filter = testing::build(&server, &config(&rules)).unwrap();
        let stream = testing::stream(&server, testing::request("GET", "/p?q", &[("x", "1")]));
        let values = Struct::from_iter([("k".to_owned(), Value::String("v".into()))]);
        stream.info.dynamic_metadata.borrow_mut().set("ns", values);
        let entry = Entry {
            object: Rc::new(StringObject("t".into())),
            read_only: false,
            life_span: LifeSpan::Request,
            shared_with_upstream: SharedWithUpstream::None,
        };
        stream.info.filter_state.borrow_mut().set("s", entry).unwrap();
        assert_eq!(outcome(&filter, &stream).await.starts_with("200"), expected, "{permission} {principal}");
    }
}

#[test]
fn what_is_no_rule_is_refused() {
    let refused = |permission: &str| {
        let rules = format!("rules: {{policies: {{{}}}}}", policy("p", permission, ANY));
        testing::build(&TestServer::default(), &config(&rules)).err().unwrap_or_default()
    };
    insta::assert_snapshot!(refused("{not_rule: {destination_port_range: {start: 10, end: 5}}}"), @r#"rules.policies["p"].permissions[0].not_rule.destination_port_range: range start 10 cannot be greater or equal than range end 5"#);
    insta::assert_snapshot!(refused("{destination_port_range: {start: -1, end: 5}}"), @r#"rules.policies["p"].permissions[0].destination_port_range: range start -1 is out of bounds"#);
    insta::assert_snapshot!(refused("{any: false}"), @r#"test.yaml:1:120: error: rules.policies["p"].permissions[0].any: value must be true"#);
    insta::assert_snapshot!(refused("{}"), @r#"test.yaml:1:114: error: rules.policies["p"].permissions[0]: one of and_rules, or_rules, any, header, url_path, destination_ip, destination_port, destination_port_range, metadata, not_rule, requested_server_name, sourced_metadata must be set"#);
    insta::assert_snapshot!(refused("{matcher: {name: x}}"), @r#"test.yaml:1:115: error: rules.policies["p"].permissions[0].matcher: Envoy knows this field, Underpass does not implement it yet"#);
}
