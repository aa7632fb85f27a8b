//! What is refused, and in which words. One snapshot a message of Envoy's, so that the words can be read as a whole.

use super::read;

/// The report on a bootstrap, without the places.
fn said(yaml: &str) -> String {
    let (bootstrap, report) = read(yaml);
    assert_eq!(bootstrap.is_none(), report.has_errors());
    let lines =
        report.diagnostics().iter().map(|diagnostic| format!("{}: {}", diagnostic.path, diagnostic.message));
    lines.collect::<Vec<_>>().join("\n")
}

/// The same for some fields of one listener, cluster or other message, which `around` leads to.
fn each<'y>(around: &str, fields: impl IntoIterator<Item = &'y str>) -> String {
    fields.into_iter().map(|fields| said(&around.replace('$', fields))).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_cluster() {
    insta::assert_snapshot!(
        each("static_resources: { clusters: [ { $ } ] }", [
            "type: STATIC",
            "name: ''",
            "name: c, type: STATICC",
            "name: c, type: EDS",
            "name: c, cleanup_interval: 0s",
            "name: c, cluster_type: { name: x }",
            "name: c, original_dst_lb_config: { upstream_port_override: 65536, metadata_key: { key: k, path: [] } }",
            "name: c, connect_timeout: 0s",
            "name: c, connect_timeout: 1x",
            "name: c, connect_timeout: 5",
            "name: c, dns_refresh_rate: 0.001s",
            "name: c, dns_failure_refresh_rate: {}",
            "name: c, ring_hash_lb_config: { minimum_ring_size: 8388609 }",
            "name: c, maglev_lb_config: { table_size: 5000012 }",
            "name: c, least_request_lb_config: { choice_count: 1 }",
            "name: c, maglev_lb_config: {}, ring_hash_lb_config: {}",
            "name: c, round_robin_lb_config: { slow_start_config: {} }",
            "name: c, common_lb_config: { healthy_panic_threshold: { value: 101 } }",
            "name: c, common_lb_config: { zone_aware_lb_config: {}, locality_weighted_lb_config: {} }",
            "name: c, health_checks: [ {} ]",
            "name: c, outlier_detection: {}",
            "name: c, transport_socket: { name: x }",
            "name: c, upstream_bind_config: { source_address: { address: 127.0.0.1 } }",
        ]),
        @"
    static_resources.clusters[0].name: value length must be at least 1 character
    static_resources.clusters[0].name: value length must be at least 1 character
    static_resources.clusters[0].type: unknown value `STATICC`; did you mean `STATIC`? Possible: STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST

    static_resources.clusters[0].cleanup_interval: value must be greater than 0s
    static_resources.clusters[0].cluster_type: Envoy knows this field, Underpass does not implement it yet
    static_resources.clusters[0].original_dst_lb_config.upstream_port_override: value must be inside range [0, 65535], not 65536
    static_resources.clusters[0].original_dst_lb_config.metadata_key.path: value must contain at least 1 item, not 0
    static_resources.clusters[0].connect_timeout: value must be greater than 0s, not 0s
    static_resources.clusters[0].connect_timeout: expected a duration in seconds such as `5s` or `0.25s`, not `1x`; a duration ends with a single `s`
    static_resources.clusters[0].connect_timeout: a duration needs its unit: write `5s` for 5 seconds
    static_resources.clusters[0].dns_refresh_rate: value must be greater than 0.001s, not 0.001s
    static_resources.clusters[0].dns_failure_refresh_rate.base_interval: value is required
    static_resources.clusters[0].ring_hash_lb_config.minimum_ring_size: value must be less than or equal to 8388608, not 8388609
    static_resources.clusters[0].maglev_lb_config.table_size: value must be less than or equal to 5000011, not 5000012
    static_resources.clusters[0].least_request_lb_config.choice_count: value must be greater than or equal to 2, not 1
    static_resources.clusters[0]: only one of ring_hash_lb_config, maglev_lb_config can be set (lb_config)
    static_resources.clusters[0].round_robin_lb_config.slow_start_config: Envoy knows this field, Underpass does not implement it yet
    static_resources.clusters[0].common_lb_config.healthy_panic_threshold.value: value must be inside range [0, 100], not 101
    static_resources.clusters[0].common_lb_config: only one of zone_aware_lb_config, locality_weighted_lb_config can be set (locality_config_specifier)
    static_resources.clusters[0].health_checks: Envoy knows this field, Underpass does not implement it yet
    static_resources.clusters[0].health_checks[0].timeout: value is required
    static_resources.clusters[0].health_checks[0].interval: value is required
    static_resources.clusters[0].health_checks[0].unhealthy_threshold: value is required
    static_resources.clusters[0].health_checks[0].healthy_threshold: value is required
    static_resources.clusters[0].outlier_detection: Envoy knows this field, Underpass does not implement it yet
    static_resources.clusters[0].transport_socket: `typed_config` is missing
    static_resources.clusters[0].upstream_bind_config.source_address: one of port_value, named_port must be set (port_specifier)
    "
    );
}

#[test]
fn endpoints() {
    insta::assert_snapshot!(
        each("static_resources: { clusters: [ { name: c, load_assignment: { $ } } ] }", [
            "endpoints: []",
            "cluster_name: c, policy: { overprovisioning_factor: 0 }",
            "cluster_name: c, policy: { drop_overloads: [ { category: x } ] }",
            "cluster_name: c, endpoints: [ { priority: 129 } ]",
            "cluster_name: c, endpoints: [ { load_balancing_weight: 0 } ]",
            "cluster_name: c, endpoints: [ { lb_endpoints: [ { load_balancing_weight: 0 } ] } ]",
            "cluster_name: c, endpoints: [ { lb_endpoints: [ { endpoint: { address: {} } } ] } ]",
            "cluster_name: c, endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: a, port_value: 65536 } } } } ] } ]",
            "cluster_name: c, endpoints: [ { lb_endpoints: [ { endpoint: { address: { envoy_internal_address: {} } } } ] } ]",
            "cluster_name: c, endpoints: [ { lb_endpoints: [ { endpoint_name: e } ] } ]",
        ]),
        @"
    static_resources.clusters[0].load_assignment.cluster_name: value length must be at least 1 character
    static_resources.clusters[0].load_assignment.policy.overprovisioning_factor: value must be greater than 0, not 0
    static_resources.clusters[0].load_assignment.policy.drop_overloads: Envoy knows this field, Underpass does not implement it yet
    static_resources.clusters[0].load_assignment.endpoints[0].priority: value must be less than or equal to 128, not 129
    static_resources.clusters[0].load_assignment.endpoints[0].load_balancing_weight: value must be greater than or equal to 1, not 0
    static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight: value must be greater than or equal to 1, not 0
    static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: one of socket_address, pipe, envoy_internal_address must be set
    static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: 65536 is out of range: it must be from 0 to 65535
    static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.envoy_internal_address: server_listener_name must be set (address_name_specifier)
    static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint_name: Envoy knows this field, Underpass does not implement it yet
    "
    );
}

#[test]
fn a_listener() {
    insta::assert_snapshot!(
        each("static_resources: { listeners: [ { name: l, $ } ] }", [
            "address: {}",
            "address: { socket_address: { address: '', port_value: 1 } }",
            "address: { socket_address: { address: 127.0.0.1 } }",
            "address: { socket_address: { address: 127.0.0.1, port_value: 65536 } }",
            "address: { pipe: { path: '' } }",
            "address: { pipe: { path: /p, mode: 512 } }",
            "address: { envoy_internal_address: {} }",
            "address: { pipe: { path: /p }, envoy_internal_address: { server_listener_name: l } }",
            "connection_balance_config: {}",
            "connection_balance_config: { extend_balance: {} }",
            "max_connections_to_accept_per_socket_event: 0",
            "socket_options: [ { level: 1, name: 2 } ]",
            "traffic_direction: SIDEWAYS",
            "listener_filters_timeout: -1s",
            "udp_listener_config: {}",
            "api_listener: {}",
            "filter_chain_matcher: {}",
            "access_log: [ {} ]",
            "listener_filters: [ { name: x, filter_disabled: { any_match: true } } ]",
            "no_such_field: 1",
        ]),
        @r#"
    static_resources.listeners[0].address: one of socket_address, pipe, envoy_internal_address must be set
    static_resources.listeners[0].address.socket_address.address: value length must be at least 1 character
    static_resources.listeners[0].address.socket_address: one of port_value, named_port must be set (port_specifier)
    static_resources.listeners[0].address.socket_address.port_value: 65536 is out of range: it must be from 0 to 65535
    static_resources.listeners[0].address.pipe.path: value length must be at least 1 character
    static_resources.listeners[0].address.pipe.mode: value must be less than or equal to 511, not 512
    static_resources.listeners[0].address.envoy_internal_address: server_listener_name must be set (address_name_specifier)
    static_resources.listeners[0].address: only one of pipe, envoy_internal_address can be set
    static_resources.listeners[0].connection_balance_config: one of exact_balance must be set
    static_resources.listeners[0].connection_balance_config.extend_balance: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].max_connections_to_accept_per_socket_event: value must be greater than 0, not 0
    static_resources.listeners[0].socket_options[0]: one of int_value, buf_value must be set (value)
    static_resources.listeners[0].traffic_direction: unknown value `SIDEWAYS`; possible: UNSPECIFIED, INBOUND, OUTBOUND
    static_resources.listeners[0].listener_filters_timeout: a duration cannot be negative here, as `-1s` is
    static_resources.listeners[0].udp_listener_config: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].api_listener: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].filter_chain_matcher: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].access_log[0]: `typed_config` is missing
    static_resources.listeners[0].listener_filters[0].filter_disabled: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].no_such_field: unknown field "no_such_field"; known: name, address, additional_addresses, internal_listener, stat_prefix, filter_chains, default_filter_chain, listener_filters, listener_filters_timeout, continue_on_listener_filters_timeout, per_connection_buffer_limit_bytes, metadata, traffic_direction, access_log, socket_options, tcp_backlog_size, transparent, freebind, tcp_fast_open_queue_length, enable_reuse_port, reuse_port, connection_balance_config, max_connections_to_accept_per_socket_event, bind_to_port, deprecated_v1, use_original_dst, ignore_global_conn_limit, enable_mptcp
    "#
    );
}

#[test]
fn a_filter_chain() {
    insta::assert_snapshot!(
        each("static_resources: { listeners: [ { name: l, filter_chains: [ { $ } ] } ] }", [
            "filter_chain_match: { destination_port: 0 }",
            "filter_chain_match: { destination_port: 65536 }",
            "filter_chain_match: { source_ports: [ 1, 0 ] }",
            "filter_chain_match: { prefix_ranges: [ { address_prefix: '' } ] }",
            "filter_chain_match: { prefix_ranges: [ { address_prefix: x } ] }",
            "filter_chain_match: { prefix_ranges: [ { address_prefix: '::', prefix_len: 129 } ] }",
            "filter_chain_match: { source_type: LOCAL }",
            "filter_chain_match: { address_suffix: x }",
            "filters: [ { typed_config: { '@type': x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c } } ]",
            "filters: [ { name: x } ]",
            "filters: [ { name: x, config_discovery: {} } ]",
            "filters: [ { name: x, typed_config: { '@type': x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy } } ]",
            "use_proxy_proto: true",
        ]),
        @r#"
    static_resources.listeners[0].filter_chains[0].filter_chain_match.destination_port: value must be inside range [1, 65535], not 0
    static_resources.listeners[0].filter_chains[0].filter_chain_match.destination_port: 65536 is out of range: it must be from 0 to 65535
    static_resources.listeners[0].filter_chains[0].filter_chain_match.source_ports[1]: value must be inside range [1, 65535], not 0
    static_resources.listeners[0].filter_chains[0].filter_chain_match.prefix_ranges[0].address_prefix: value length must be at least 1 character
    static_resources.listeners[0].filter_chains[0].filter_chain_match.prefix_ranges[0]: "x" is no IP address (address_prefix)
    static_resources.listeners[0].filter_chains[0].filter_chain_match.prefix_ranges[0].prefix_len: value must be less than or equal to 128, not 129
    static_resources.listeners[0].filter_chains[0].filter_chain_match.source_type: unknown value `LOCAL`; possible: ANY, SAME_IP_OR_LOOPBACK, EXTERNAL
    static_resources.listeners[0].filter_chains[0].filter_chain_match.address_suffix: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].filter_chains[0].filters[0].name: value length must be at least 1 character
    static_resources.listeners[0].filter_chains[0].filters[0]: `typed_config` is missing
    static_resources.listeners[0].filter_chains[0].filters[0].config_discovery: Envoy knows this field, Underpass does not implement it yet
    static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix: value length must be at least 1 character
    static_resources.listeners[0].filter_chains[0].filters[0].typed_config: one of cluster, weighted_clusters must be set (cluster_specifier)
    static_resources.listeners[0].filter_chains[0].use_proxy_proto: Envoy knows this field, Underpass does not implement it yet
    "#
    );
}

#[test]
fn the_process() {
    insta::assert_snapshot!(
        each("$", [
            "static_resources: { secrets: [ {} ] }",
            "stats_flush_interval: 0s",
            "stats_sinks: [ {} ]",
            "admin: { allow_paths: [ { exact: / } ] }",
            "layered_runtime: { layers: [ { static_layer: {} } ] }",
            "layered_runtime: { layers: [ { name: x } ] }",
            "layered_runtime: { layers: [ { name: x, static_layer: {}, admin_layer: {} } ] }",
            "layered_runtime: { layers: [ { name: x, disk_layer: {} } ] }",
            "layered_runtime: { layers: [ { name: x, rtds_layer: {} } ] }",
            "stats_config: { stats_matcher: {} }",
            "stats_config: { stats_matcher: { reject_all: true, inclusion_list: { patterns: [ { exact: x } ] } } }",
            "stats_config: { stats_matcher: { exclusion_list: {} } }",
            "stats_config: { histogram_bucket_settings: [ { buckets: [ 1 ] } ] }",
            "stats_config: { histogram_bucket_settings: [ { match: { prefix: '' }, buckets: [ 0 ] } ] }",
            "stats_config: { stats_tags: [ { tag_name: x, regex: a, fixed_value: b } ] }",
            "overload_manager: { refresh_interval: 1s }",
            "bootstrap_extensions: [ { name: x } ]",
            "bootstrap_extensions: [ { name: x, typed_config: { '@type': x/envoy.extensions.bootstrap.internal_listener.v3.InternalListener, buffer_size_kb: 0 } } ]",
            "header_prefix: x",
        ]),
        @"
    static_resources.secrets: Envoy knows this field, Underpass does not implement it yet
    stats_flush_interval: value must be inside range [0.001s, 300s), not 0s
    stats_sinks: Envoy knows this field, Underpass does not implement it yet
    admin.allow_paths: Envoy knows this field, Underpass does not implement it yet
    layered_runtime.layers[0].name: value length must be at least 1 character
    layered_runtime.layers[0]: one of static_layer, disk_layer, admin_layer, rtds_layer must be set (layer_specifier)
    layered_runtime.layers[0]: only one of static_layer, admin_layer can be set (layer_specifier)
    layered_runtime.layers[0].disk_layer: Envoy knows this field, Underpass does not implement it yet
    layered_runtime.layers[0].rtds_layer: Envoy knows this field, Underpass does not implement it yet
    stats_config.stats_matcher: one of reject_all, exclusion_list, inclusion_list must be set
    stats_config.stats_matcher: only one of reject_all, inclusion_list can be set
    stats_config.stats_matcher.exclusion_list.patterns: value must contain at least 1 item, not 0
    stats_config.histogram_bucket_settings[0]: `match` is missing
    stats_config.histogram_bucket_settings[0].match.prefix: value length must be at least 1 character
    stats_config.histogram_bucket_settings[0].buckets[0]: value must be greater than 0, not 0
    stats_config.stats_tags[0]: only one of regex, fixed_value can be set (tag_value)
    overload_manager.resource_monitors: value must contain at least 1 item, not 0
    overload_manager.refresh_interval: Envoy knows this field, Underpass does not implement it yet; it is ignored
    bootstrap_extensions[0]: `typed_config` is missing
    bootstrap_extensions[0].typed_config.buffer_size_kb: value must be inside range [1, 8192], not 0
    header_prefix: Envoy knows this field, Underpass does not implement it yet
    "
    );
}
