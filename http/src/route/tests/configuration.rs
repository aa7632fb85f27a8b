//! What configurations are refused, and with which words.

use super::*;

fn refused(yaml: &str) -> String {
    Routes::on(TestServer::default(), yaml).err().unwrap_or_else(|| format!("{yaml} is accepted"))
}

fn refused_route(route: &str) -> String {
    refused(&format!("virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]"))
}

fn refused_action(action: &str) -> String {
    refused_route(&format!("{{match: {{prefix: /}}, {action}}}"))
}

#[test]
fn a_domain_belongs_to_one_virtual_host() {
    let hosts = |a: &str, b: &str| {
        refused(&format!(
            "name: r\nvirtual_hosts: [{{name: a, domains: ['{a}']}}, {{name: b, domains: ['{b}']}}]"
        ))
    };
    insta::assert_snapshot!(hosts("x.y", "X.Y"), @"route_config.virtual_hosts[1].domains[0]: Only unique values for domains are permitted. Duplicate entry of domain x.y in route r");
    insta::assert_snapshot!(hosts("*.a", "*.a"), @"route_config.virtual_hosts[1].domains[0]: Only unique values for domains are permitted. Duplicate entry of domain *.a in route r");
    insta::assert_snapshot!(hosts("*", "*"), @"route_config.virtual_hosts[1].domains[0]: Only a single wildcard domain is permitted in route r");
    insta::assert_snapshot!(refused("virtual_hosts: [{name: a, domains: []}]"), @"x.yaml:1:36: error: virtual_hosts[0].domains: value must contain at least 1 item, not 0");
}

#[test]
fn a_route_needs_a_match_and_an_action() {
    insta::assert_snapshot!(refused_route("{match: {prefix: /}}"), @"x.yaml:1:52: error: virtual_hosts[0].routes[0]: one of route, redirect, direct_response, filter_action, non_forwarding_action must be set (action)");
    insta::assert_snapshot!(refused_route("{match: {}, route: {cluster: a}}"), @"x.yaml:1:60: error: virtual_hosts[0].routes[0].match: one of prefix, path, safe_regex, connect_matcher, path_separated_prefix, path_match_policy must be set (path_specifier)");
    insta::assert_snapshot!(refused_route("{match: {prefix: /, path: /a}, route: {cluster: a}}"), @"x.yaml:1:60: error: virtual_hosts[0].routes[0].match: only one of prefix, path can be set (path_specifier)");
    insta::assert_snapshot!(refused_route("{match: {safe_regex: {regex: '('}}, route: {cluster: a}}"), @r#"
    x.yaml:1:73: error: virtual_hosts[0].routes[0].match.safe_regex: "(" is no regex: regex parse error:
        (
        ^
    error: unclosed group
    "#);
    insta::assert_snapshot!(refused_route("{match: {path_separated_prefix: /x/}, route: {cluster: a}}"), @r#"x.yaml:1:84: error: virtual_hosts[0].routes[0].match.path_separated_prefix: value must match `^[^?#]+[^?#/]$`, not "/x/""#);
    insta::assert_snapshot!(refused_action("route: {}"), @"x.yaml:1:80: error: virtual_hosts[0].routes[0].route: one of cluster, cluster_header, weighted_clusters, cluster_specifier_plugin, inline_cluster_specifier_plugin must be set (cluster_specifier)");
    insta::assert_snapshot!(refused_action("route: {cluster: a}, redirect: {}"), @"x.yaml:1:52: error: virtual_hosts[0].routes[0]: only one of route, redirect can be set (action)");
}

#[test]
fn weights_have_to_make_sense() {
    let weighted =
        |clusters: &str| refused_action(&format!("route: {{weighted_clusters: {{clusters: [{clusters}]}}}}"));
    insta::assert_snapshot!(weighted("{name: a, weight: 0}"), @"route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters: Sum of weights in the weighted_cluster must be greater than 0.");
    insta::assert_snapshot!(weighted("{name: a}"), @"route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0].weight: weight must be set");
    insta::assert_snapshot!(weighted("{name: a, weight: 4294967295}, {name: b, weight: 1}"), @"route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters: The sum of weights of all weighted clusters is 4294967296, which exceeds 4294967295");
    insta::assert_snapshot!(weighted("{weight: 1}"), @"route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0]: At least one of name or cluster_header need to be specified");
    insta::assert_snapshot!(weighted("{name: a, cluster_header: x, weight: 1}"), @"route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0]: Only one of name or cluster_header can be specified");
    insta::assert_snapshot!(weighted(""), @"x.yaml:1:111: error: virtual_hosts[0].routes[0].route.weighted_clusters.clusters: value must contain at least 1 item, not 0");
}

#[test]
fn an_action_does_one_thing() {
    insta::assert_snapshot!(refused_action("route: {cluster: a, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}}}"), @"route_config.virtual_hosts[0].routes[0].route: Specify only one of prefix_rewrite, regex_rewrite, path_rewrite or path_rewrite_policy");
    insta::assert_snapshot!(refused_action("route: {cluster: a, host_rewrite_literal: a, auto_host_rewrite: true}"), @"x.yaml:1:80: error: virtual_hosts[0].routes[0].route: only one of host_rewrite_literal, auto_host_rewrite can be set (host_rewrite_specifier)");
    insta::assert_snapshot!(refused_action("redirect: {https_redirect: true, scheme_redirect: foo}"), @"x.yaml:1:83: error: virtual_hosts[0].routes[0].redirect: only one of https_redirect, scheme_redirect can be set (scheme_rewrite_specifier)");
    insta::assert_snapshot!(refused_action("route: {cluster: a, path_rewrite: '%NOPE%'}"), @"route_config.virtual_hosts[0].routes[0].route.path_rewrite: Not supported field in StreamInfo: NOPE (at position 0 of `%NOPE%`)");
    insta::assert_snapshot!(refused_action("route: {cluster: a, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]}"), @"route_config.virtual_hosts[0].routes[0].route.upgrade_configs[1].upgrade_type: Duplicate upgrade WebSocket");
    insta::assert_snapshot!(refused_action("route: {cluster: a, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}"), @"route_config.virtual_hosts[0].routes[0].route.upgrade_configs[0].connect_config: Non-CONNECT upgrade type websocket has ConnectConfig");
    insta::assert_snapshot!(refused_action("route: {cluster: a, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 0.5s}}}"), @"route_config.virtual_hosts[0].routes[0].route.retry_policy.retry_back_off.max_interval: retry_policy.max_interval must greater than or equal to the base_interval");
    insta::assert_snapshot!(refused_action("route: {cluster: a, retry_policy: {retry_host_predicate: [{name: x}]}}"), @"route_config.virtual_hosts[0].routes[0].route.retry_policy.retry_host_predicate[0]: the only retry host predicate is envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate");
    insta::assert_snapshot!(refused_action("route: {cluster: a, hash_policy: [{terminal: true}]}"), @"x.yaml:1:107: error: virtual_hosts[0].routes[0].route.hash_policy[0]: one of header, cookie, connection_properties, query_parameter, filter_state must be set (policy_specifier)");
    insta::assert_snapshot!(refused_action("route: {cluster: a}, request_headers_to_add: [{header: {key: host, value: x}}]"), @"route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: :-prefixed or host headers may not be modified");
}

#[test]
fn a_direct_response_is_short() {
    let long = format!("direct_response: {{status: 200, body: {{inline_string: {}}}}}", "x".repeat(4097));
    insta::assert_snapshot!(refused_action(&long), @"route_config.virtual_hosts[0].routes[0].direct_response.body: response body size is 4097 bytes; maximum is 4096");
    let yaml = format!(
        "max_direct_response_body_size_bytes: 5000\nvirtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, {long}}}]}}]"
    );
    assert!(Routes::on(TestServer::default(), &yaml).is_ok());
    insta::assert_snapshot!(refused_action("direct_response: {status: 199}"), @"x.yaml:1:99: error: virtual_hosts[0].routes[0].direct_response.status: value must be inside range [200, 600), not 199");
    insta::assert_snapshot!(refused_action("direct_response: {status: 200, body: {filename: /no/such/file}}"), @r#"route_config.virtual_hosts[0].routes[0].direct_response.body: cannot read the file "/no/such/file": No such file or directory (os error 2)"#);
}

#[test]
fn what_is_not_implemented_is_said() {
    insta::assert_snapshot!(refused_action("route: {cluster: a, request_mirror_policies: [{cluster: b}]}"), @"x.yaml:1:93: error: virtual_hosts[0].routes[0].route.request_mirror_policies: Envoy knows this field, Underpass does not implement it yet");
}

#[test]
fn clusters_have_to_be_there_unless_the_configuration_says_otherwise() {
    let references = |validate: &str| {
        let yaml = format!(
            "{validate}
virtual_hosts: [{{name: v, domains: ['*'], routes: [
  {{match: {{prefix: /}}, redirect: {{}}}},
  {{match: {{prefix: /}}, route: {{cluster: a}}}},
  {{match: {{prefix: /}}, route: {{weighted_clusters: {{clusters: [{{name: b, weight: 1}}, {{cluster_header: c, weight: 1}}]}}}}}}]}}]"
        );
        let references = read(&yaml).unwrap().cluster_references("route_config");
        let print =
            |it: underpass_core::network_filter::ClusterReference| format!("{}: {:?}", it.field, it.refusal);
        references.into_iter().map(print).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(references(""), @r#"
    route_config.virtual_hosts[0].routes[1].route.cluster: Some("route: unknown cluster 'a'")
    route_config.virtual_hosts[0].routes[2].route.weighted_clusters.clusters[0].name: Some("route: unknown weighted cluster 'b'")
    "#);
    insta::assert_snapshot!(references("validate_clusters: false"), @"
    route_config.virtual_hosts[0].routes[1].route.cluster: None
    route_config.virtual_hosts[0].routes[2].route.weighted_clusters.clusters[0].name: None
    ");
}
