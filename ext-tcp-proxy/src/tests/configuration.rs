//! What configurations are accepted, and what is said of the others.

use underpass_core::{
    network_filter::{ClusterReference, NetworkFilterConfig},
    testing::{self, TestServer},
};

use super::toys::{Proxy, build};

fn refused(fields: &str) -> String {
    build(&TestServer::default(), fields).err().unwrap_or_else(|| format!("{fields} is accepted"))
}

#[test]
fn the_stats_are_those_of_envoy() {
    let proxy = Proxy::new("");
    let snapshot = proxy.server.stats.snapshot();
    let all = snapshot.counters.iter().chain(&snapshot.gauges);
    let mut names: Vec<_> = all.filter_map(|stat| stat.name.as_str().strip_prefix("tcp.p.")).collect();
    names.sort_unstable();
    // `/stats` of Envoy 1.40.
    insta::assert_snapshot!(names.join("\n"), @"
    downstream_cx_drain_close
    downstream_cx_no_route
    downstream_cx_overload_close
    downstream_cx_rx_bytes_buffered
    downstream_cx_rx_bytes_total
    downstream_cx_total
    downstream_cx_tx_bytes_buffered
    downstream_cx_tx_bytes_total
    downstream_flow_control_paused_reading_total
    downstream_flow_control_resumed_reading_total
    early_data_received_count_total
    idle_timeout
    max_downstream_connection_duration
    route_delayed_total
    upstream_flush_active
    upstream_flush_total
    ");
}

#[test]
fn all_the_fields_can_be_read_in_either_style() {
    let fields = "\
cluster: up
idleTimeout: 5s
max_connect_attempts: 2
backoffOptions: {baseInterval: 0.5s}
hash_policy: [{source_ip: {}}]
maxDownstreamConnectionDuration: 10s
max_downstream_connection_duration_jitter_percentage: {value: 10.5}
metadata_match: {filter_metadata: {envoy.lb: {a: b}}}
upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE
max_early_data_bytes: 0
on_demand: {}
accessLogOptions: {flushAccessLogOnConnected: true}";
    assert!(build(&TestServer::default(), fields).is_ok());
}

#[test]
fn it_names_its_clusters() {
    let references = |fields: &str| {
        let yaml = format!(
            "'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\nstat_prefix: p\n{fields}"
        );
        let config = testing::read::<dyn NetworkFilterConfig>(&yaml).unwrap();
        assert!(config.is_terminal());
        config.cluster_references()
    };
    let reference = |field: &str, cluster: &str| ClusterReference::optional(field, cluster);
    assert_eq!(references("cluster: up"), [reference("cluster", "up")]);
    assert_eq!(
        references("weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 2}]}"),
        [
            reference("weighted_clusters.clusters[0].name", "a"),
            reference("weighted_clusters.clusters[1].name", "b")
        ]
    );
}

#[test]
fn there_must_be_exactly_one_kind_of_route() {
    insta::assert_snapshot!(refused("idle_timeout: 1s"), @"test.yaml:1:1: error: one of cluster, weighted_clusters must be set (cluster_specifier)");
    insta::assert_snapshot!(refused("cluster: a\nweighted_clusters: {clusters: [{name: a, weight: 1}]}"), @"test.yaml:1:1: error: only one of cluster, weighted_clusters can be set (cluster_specifier)");
    insta::assert_snapshot!(refused("weighted_clusters: {clusters: []}"), @"test.yaml:3:31: error: weighted_clusters.clusters: value must contain at least 1 item, not 0");
    insta::assert_snapshot!(refused("weighted_clusters: {clusters: [{name: '', weight: 0}]}"), @"
    test.yaml:3:39: error: weighted_clusters.clusters[0].name: value length must be at least 1 character
    test.yaml:3:51: error: weighted_clusters.clusters[0].weight: value must be greater than or equal to 1, not 0
    ");
}

#[test]
fn numbers_and_durations_are_checked() {
    insta::assert_snapshot!(refused("cluster: a\nmax_connect_attempts: 0"), @"test.yaml:4:23: error: max_connect_attempts: value must be greater than or equal to 1, not 0");
    insta::assert_snapshot!(refused("cluster: a\nmax_downstream_connection_duration: 0s"), @"test.yaml:4:37: error: max_downstream_connection_duration: value must be greater than or equal to 0.001s, not 0s");
    insta::assert_snapshot!(refused("cluster: a\nmax_downstream_connection_duration_jitter_percentage: {value: 101}"), @"test.yaml:4:63: error: max_downstream_connection_duration_jitter_percentage.value: value must be inside range [0, 100], not 101");
    insta::assert_snapshot!(refused("cluster: a\nmax_early_data_bytes: 2000000"), @"test.yaml:4:23: error: max_early_data_bytes: value must be less than or equal to 1048576, not 2000000");
    insta::assert_snapshot!(refused("cluster: a\nidle_timeout: 5"), @"test.yaml:4:15: error: idle_timeout: a duration needs its unit: write `5s` for 5 seconds");
    insta::assert_snapshot!(refused("cluster: a\naccess_log_options: {access_log_flush_interval: 0s}"), @"test.yaml:4:49: error: access_log_options.access_log_flush_interval: value must be greater than or equal to 0.001s, not 0s");
    insta::assert_snapshot!(refused("cluster: a\nhash_policy: [{source_ip: {}}, {source_ip: {}}]"), @"test.yaml:4:14: error: hash_policy: value must contain at most 1 item, not 2");
    insta::assert_snapshot!(refused("cluster: a\nhash_policy: [{}]"), @"test.yaml:4:15: error: hash_policy[0]: one of source_ip, filter_state must be set");
    insta::assert_snapshot!(refused("cluster: a\nbackoff_options: {}"), @"test.yaml:4:18: error: backoff_options: `base_interval` is missing");
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    insta::assert_snapshot!(refused("cluster: a\nbackoff_options: {base_interval: 1s, max_interval: 0.5s}"), @"backoff_options.max_interval: max_backoff_interval must be greater or equal to base_backoff_interval");
    insta::assert_snapshot!(refused("cluster: a\nupstream_connect_mode: ON_DOWNSTREAM_DATA"), @"upstream_connect_mode: max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE");
    insta::assert_snapshot!(refused("cluster: a\naccess_log_flush_interval: 1s\naccess_log_options: {}"), @"access_log_flush_interval: Only one of access_log_flush_interval or access_log_options can be specified.");
    insta::assert_snapshot!(refused("cluster: a\nflush_access_log_on_connected: true\naccess_log_options: {}"), @"flush_access_log_on_connected: Only one of flush_access_log_on_connected or access_log_options can be specified.");
}

#[test]
fn what_envoy_has_and_this_filter_lacks_is_said_to_be_missing() {
    insta::assert_snapshot!(refused("cluster: a\nproxy_protocol_tlvs: [{type: 1, value: YQ==}]"), @"test.yaml:4:1: error: proxy_protocol_tlvs: Envoy knows this field, Underpass does not implement it yet");
    insta::assert_snapshot!(refused("cluster: a\non_demand: {odcds_config: {ads: {}}}"), @"test.yaml:4:13: error: on_demand.odcds_config: Envoy knows this field, Underpass does not implement it yet");
    insta::assert_snapshot!(refused("cluster: a\ncheck_drain_close: true"), @"test.yaml:4:1: error: check_drain_close: Envoy knows this field, Underpass does not implement it yet");
}
