//! What Envoy refuses, in its words.

use crate::cluster_manager::test_manager::TestManager;

/// Why a cluster with these fields is refused.
fn refused(fields: &str) -> String {
    TestManager::new().add(&format!("name: c\n{fields}")).unwrap_err()
}

/// An assignment of one endpoint.
fn endpoint(endpoint: &str) -> String {
    format!("load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {endpoint}}}]}}]}}")
}

#[test]
fn static_clusters_need_addresses() {
    let socket = |fields: &str| endpoint(&format!("{{address: {{socket_address: {{{fields}}}}}}}"));
    insta::assert_snapshot!(refused(&socket("address: localhost, port_value: 1")), @"clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: malformed IP address: localhost. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'");
    insta::assert_snapshot!(refused(&socket("address: 127.0.0.1, port_value: 1, resolver_name: x")), @"clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.resolver_name: Unknown address resolver: x. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'");
    insta::assert_snapshot!(refused(&socket("address: 127.0.0.1, named_port: http")), @"clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.named_port: IP resolver can't handle a named port. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'");
    insta::assert_snapshot!(refused(&socket("protocol: UDP, address: 127.0.0.1, port_value: 1")), @"clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.protocol: UDP endpoints are not implemented yet");
    insta::assert_snapshot!(refused(&endpoint("{}")), @"clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: Address must be set. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'");
}

#[test]
fn names_are_resolved_by_the_system_or_not_at_all() {
    let with_resolver =
        endpoint("{address: {socket_address: {address: a, port_value: 1, resolver_name: x}}}");
    insta::assert_snapshot!(refused(&format!("type: STRICT_DNS\n{with_resolver}")), @"clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.resolver_name: STRICT_DNS and LOGICAL_DNS clusters must NOT have a custom resolver name set");
    insta::assert_snapshot!(
        refused("type: STRICT_DNS\ndns_resolvers: [{socket_address: {address: ns.example, port_value: 53}}]"), @"clusters[0].dns_resolvers[0]: a name server has an IP address and a port");
}

#[test]
fn policies_are_checked() {
    insta::assert_snapshot!(
        refused("lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 100, maximum_ring_size: 10}"), @"clusters[0].ring_hash_lb_config: ring hash: minimum_ring_size (100) > maximum_ring_size (10)");
    insta::assert_snapshot!(refused("lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 100}"), @"clusters[0].maglev_lb_config.table_size: The table size of maglev must be prime number, which 100 is not");
}

#[test]
fn what_is_not_implemented_says_so() {
    insta::assert_snapshot!(refused("close_connections_on_host_health_failure: true"), @"clusters[0].close_connections_on_host_health_failure: is not implemented yet: connections to a host stay when it turns unhealthy");
}

#[test]
fn the_runtime_overrides_limits_and_the_panic_threshold() {
    let test = TestManager::with_runtime(vec![
        ("circuit_breakers.c.default.max_connections", 7.0),
        ("circuit_breakers.other.default.max_connections", 8.0),
        ("upstream.healthy_panic_threshold", 3.0),
    ]);
    test.add("{name: c, circuit_breakers: {thresholds: [{max_connections: 5}]}}").unwrap();
    let cluster = test.manager.shared("c").unwrap();
    let limits = &cluster.info.circuit_breakers.default.limits;
    assert_eq!((limits.connections, limits.requests, cluster.policy.panic_threshold), (7, 1024, 3));
}

#[test]
fn a_bias_that_makes_no_sense_is_replaced_with_a_warning() {
    let test = TestManager::new();
    let bias = "least_request_lb_config: {active_request_bias: {default_value: -1, runtime_key: x}}";
    test.add(&format!("name: c\nlb_policy: LEAST_REQUEST\n{bias}")).unwrap();
    insta::assert_snapshot!(test.warnings.borrow()[0], @"clusters[0].least_request_lb_config: invalid active request bias -1, using 1.0");
}

#[test]
fn limits_for_each_host_are_limits_of_connections() {
    let limits =
        |more: &str| format!("circuit_breakers: {{per_host_thresholds: [{{max_connections: 1{more}}}]}}");
    assert_eq!(TestManager::new().add(&format!("name: c\n{}", limits(""))), Ok(true));
    insta::assert_snapshot!(refused(&limits(", max_requests: 3")), @"clusters[0].circuit_breakers.per_host_thresholds[0]: Unsupported field in per_host_thresholds: only priority and max_connections have a meaning");
}

#[test]
fn a_pipe_has_to_fit_into_an_address() {
    let long = format!("{{address: {{pipe: {{path: /{}}}}}}}", "x".repeat(107));
    let said = refused(&endpoint(&long));
    assert!(said.ends_with("exceeds maximum UNIX domain socket path size of 108."), "{said}");
}
