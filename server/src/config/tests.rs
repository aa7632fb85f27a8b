//! Real configurations are read as they are meant, and what Envoy refuses, or this proxy lacks, is said with its place.

mod coverage;
mod extensions;
mod refused;
mod seed;

use std::time::Duration;

use underpass_core::{
    config::{Address, ConfigPath, Reader, Report, parse_yaml},
    extension::ExtensionSet,
};

use super::{
    Bootstrap, HARMLESS,
    cluster::{Cluster, DiscoveryType},
    filter_chain::ConnectionSourceType,
    listener::{ConnectionBalanceConfig, ExactBalance, Listener, TrafficDirection},
    load_balancing::{HashFunction, LbPolicy},
};

/// Reads a bootstrap with the extensions of this test binary.
fn read(yaml: &str) -> (Option<Bootstrap>, Report) {
    let extensions = ExtensionSet::from_inventory().unwrap();
    let document = parse_yaml("x.yaml", yaml).unwrap_or_else(|report| panic!("{report}"));
    let reader = Reader::new(&extensions).harmless(HARMLESS);
    let bootstrap = reader.read(&document.root, ConfigPath::root(), "envoy.config.bootstrap.v3.Bootstrap");
    (bootstrap, reader.into_report())
}

/// Reads a bootstrap about which there is nothing to say.
fn accept(yaml: &str) -> Bootstrap {
    let (bootstrap, report) = read(yaml);
    assert!(report.is_empty(), "{report}");
    bootstrap.unwrap()
}

fn listener(yaml: &str) -> Listener {
    accept(&format!("static_resources: {{ listeners: [ {yaml} ] }}")).static_resources.listeners.remove(0)
}

fn cluster(yaml: &str) -> Cluster {
    accept(&format!("static_resources: {{ clusters: [ {yaml} ] }}")).static_resources.clusters.remove(0)
}

#[test]
fn nothing_at_all_has_envoys_defaults() {
    let bootstrap = accept("{}");
    assert!(bootstrap.admin.is_none());
    assert!(bootstrap.static_resources.listeners.is_empty());
    assert_eq!(bootstrap.stats_flush_interval_or_default(), Duration::from_secs(5));
    assert!(bootstrap.stats_config.use_all_default_tags_or_default());
}

#[test]
fn a_listener_has_envoys_defaults() {
    let listener = listener("{ name: l }");
    assert_eq!(listener.listener_filters_timeout_or_default(), Some(Duration::from_secs(15)));
    assert_eq!(listener.buffer_limit_or_default(), 1_048_576);
    assert!(listener.reuse_port_or_default());
    assert!(listener.bind_to_port_or_default());
    assert_eq!(listener.traffic_direction, TrafficDirection::Unspecified);
}

#[test]
fn a_listener_says_what_it_wants() {
    let listener = listener(
        "{ name: l, address: { socket_address: { address: '::', port_value: 80, ipv4_compat: true } },
           additional_addresses: [ { address: { pipe: { path: /run/x, mode: 0o600 } }, socket_options: {} } ],
           listener_filters_timeout: 0s, bind_to_port: true, deprecated_v1: { bind_to_port: false },
           enable_reuse_port: false, connection_balance_config: { exact_balance: {} },
           traffic_direction: OUTBOUND, per_connection_buffer_limit_bytes: '4096',
           filter_chains: [ { name: c, filter_chain_match: { destination_port: 443, source_type: EXTERNAL,
             prefix_ranges: [ { address_prefix: 10.1.2.3, prefix_len: 8 } ], server_names: [ '*.example.com' ] } } ] }",
    );
    assert_eq!(listener.listener_filters_timeout_or_default(), None);
    assert!(!listener.bind_to_port_or_default());
    assert!(!listener.reuse_port_or_default());
    assert_eq!(
        listener.connection_balance_config,
        Some(ConnectionBalanceConfig::ExactBalance(ExactBalance {}))
    );
    assert_eq!(listener.traffic_direction, TrafficDirection::Outbound);
    assert_eq!(listener.buffer_limit_or_default(), 4096);
    assert!(
        matches!(&listener.additional_addresses[0].address, Some(Address::Pipe(pipe)) if pipe.mode == 0o600)
    );
    let wanted = &listener.filter_chains[0].filter_chain_match;
    assert_eq!((wanted.destination_port, wanted.source_type), (Some(443), ConnectionSourceType::External));
    assert_eq!(wanted.prefix_ranges[0].net.to_string(), "10.0.0.0/8");
}

#[test]
fn a_prefix_may_be_longer_than_its_address_or_absent() {
    let listener = listener(
        "{ name: l, filter_chains: [ { filter_chain_match: { source_prefix_ranges: [
             { address_prefix: 10.1.2.3, prefix_len: 33 }, { address_prefix: '::1' } ] } } ] }",
    );
    let ranges = &listener.filter_chains[0].filter_chain_match.source_prefix_ranges;
    assert_eq!(ranges.iter().map(|range| range.net.to_string()).collect::<Vec<_>>(), ["10.1.2.3/32", "::/0"]);
}

#[test]
fn a_cluster_has_envoys_defaults() {
    let cluster = cluster("{ name: c }");
    assert_eq!(cluster.discovery_type, DiscoveryType::Static);
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin);
    assert_eq!(cluster.connect_timeout_or_default(), Duration::from_secs(5));
    assert_eq!(cluster.dns_refresh_rate_or_default(), Duration::from_secs(5));
    assert!((cluster.common_lb_config.healthy_panic_threshold_or_default() - 50.0).abs() < f64::EPSILON);
    let limits = cluster.circuit_breakers.of(super::circuit_breakers::RoutingPriority::High);
    assert_eq!((limits.max_connections_or_default(), limits.max_retries_or_default()), (1024, 3));
    assert_eq!(cluster.circuit_breakers.max_connections_per_host(), u32::MAX);
    assert_eq!(cluster.observability_name(), "c");
}

#[test]
fn a_cluster_says_what_it_wants() {
    let cluster = cluster(
        "{ name: c, alt_stat_name: s, type: LOGICAL_DNS, lb_policy: RING_HASH, connect_timeout: 0.25s,
           ring_hash_lb_config: { hash_function: MURMUR_HASH_2, minimum_ring_size: 7 },
           dns_lookup_family: V4_PREFERRED, dns_failure_refresh_rate: { base_interval: 2s },
           common_lb_config: { healthy_panic_threshold: { value: 0 }, locality_weighted_lb_config: {} },
           upstream_connection_options: { tcp_keepalive: { keepalive_time: 30 } },
           upstream_bind_config: { source_address: { address: 127.0.0.2, port_value: 0 } },
           circuit_breakers: { thresholds: [ { priority: HIGH, max_retries: 9 }, { max_connections: 1 } ],
                               per_host_thresholds: [ { max_connections: 4 } ] },
           load_assignment: { cluster_name: c, policy: { overprovisioning_factor: 100 }, endpoints: [ {
             locality: { zone: z }, priority: 1, load_balancing_weight: 3, lb_endpoints: [ {
               health_status: DEGRADED, load_balancing_weight: 2,
               endpoint: { hostname: h, address: { socket_address: { address: h, port_value: 80 } } } } ] } ] } }",
    );
    assert_eq!(cluster.observability_name(), "s");
    assert_eq!(cluster.connect_timeout_or_default(), Duration::from_millis(250));
    assert_eq!(cluster.ring_hash_lb_config.as_ref().unwrap().hash_function, HashFunction::MurmurHash2);
    assert_eq!(cluster.dns_failure_refresh_rate.unwrap().max_interval_or_default(), Duration::from_secs(20));
    assert!(cluster.common_lb_config.healthy_panic_threshold_or_default().abs() < f64::EPSILON);
    let limits = cluster.circuit_breakers.of(super::circuit_breakers::RoutingPriority::Default);
    assert_eq!((limits.max_connections_or_default(), limits.max_retries_or_default()), (1, 3));
    assert_eq!(cluster.circuit_breakers.max_connections_per_host(), 4);
    let assignment = cluster.load_assignment.unwrap();
    assert_eq!(assignment.policy.overprovisioning_factor_or_default(), 100);
    assert_eq!((assignment.endpoints[0].locality.zone.as_str(), assignment.endpoints[0].priority), ("z", 1));
}

#[test]
fn the_process_says_what_it_wants() {
    let bootstrap = accept(
        "
node: { id: n, cluster: c, locality: { zone: z }, metadata: { a: [1, x] } }
admin: { address: { pipe: { path: '@admin' } } }
stats_flush_interval: 60s
stats_config:
  stats_tags: [ { tag_name: a, regex: '(b)' }, { tag_name: c, fixed_value: d } ]
  stats_matcher: { inclusion_list: { patterns: [ { prefix: cluster. }, { safe_regex: { google_re2: {}, regex: x } } ] } }
  histogram_bucket_settings: [ { match: { suffix: ms }, buckets: [0.5, 1] } ]
layered_runtime: { layers: [ { name: s, static_layer: { a.b: true } }, { name: a, admin_layer: {} } ] }
cluster_manager: { local_cluster_name: me }
",
    );
    assert_eq!(bootstrap.node.locality.zone, "z");
    assert_eq!(bootstrap.stats_flush_interval_or_default(), Duration::from_secs(60));
    assert_eq!(bootstrap.stats_config.histogram_bucket_settings[0].buckets, [0.5, 1.0]);
    let layers = &bootstrap.layered_runtime.layers;
    assert!(layers[0].static_layer.is_some() && layers[1].admin_layer.is_some());
}

#[test]
fn what_may_be_ignored_is_a_warning() {
    let (bootstrap, report) = read(
        "
node: { user_agent_name: x }
watchdogs: {}
stats_flush_on_admin: true
overload_manager:
  refresh_interval: 0.25s
  resource_monitors: [ { name: m, typed_config: { '@type': x/envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig } } ]
",
    );
    assert!(bootstrap.is_some());
    insta::assert_snapshot!(report, @"
    x.yaml:2:9: warning: node.user_agent_name: Envoy knows this field, Underpass does not implement it yet; it is ignored
    x.yaml:3:1: warning: watchdogs: Envoy knows this field, Underpass does not implement it yet; it is ignored
    x.yaml:4:1: warning: stats_flush_on_admin: Envoy knows this field, Underpass does not implement it yet; it is ignored
    x.yaml:6:3: warning: overload_manager.refresh_interval: Envoy knows this field, Underpass does not implement it yet; it is ignored
    ");
}

#[test]
fn the_global_connection_limit_is_a_resource_monitor() {
    let bootstrap = accept(
        "
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config: { '@type': x/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, maxHeapSizeBytes: 1 }
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      maxActiveDownstreamConnections: '7'
      '@type': x/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
",
    );
    let mut report = Report::new();
    assert_eq!(bootstrap.overload_manager.max_downstream_connections(), Some(7));
    bootstrap.overload_manager.check(&mut report);
    insta::assert_snapshot!(report, @"x.yaml:5:19: warning: overload_manager.resource_monitors[0].typed_config: Underpass does not implement envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig; it is ignored");
    assert_eq!(accept("{}").overload_manager.max_downstream_connections(), None);
}

#[test]
fn a_wrong_global_connection_limit_is_an_error() {
    let limit = |value: &str| {
        let yaml = format!(
            "overload_manager: {{ resource_monitors: [ {{ name: m, typed_config: {{ max_active_downstream_connections: {value}, \
             '@type': x/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig }} }} ] }}"
        );
        let (bootstrap, mut report) = read(&yaml);
        if let Some(bootstrap) = bootstrap {
            bootstrap.overload_manager.check(&mut report);
        }
        report.to_string()
    };
    insta::assert_snapshot!(limit("0"), @"x.yaml:1:104: error: overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections: value must be greater than 0, not 0");
    insta::assert_snapshot!(limit("many"), @"x.yaml:1:104: error: overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections: expected a whole number, not `many`");
}
