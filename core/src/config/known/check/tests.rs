//! Each kind of demand, on messages of Envoy's where it occurs.

use insta::assert_snapshot;

use crate::config::{ConfigPath, Report, parse_yaml};

fn unmet(message: &str, yaml: &str) -> String {
    let document = parse_yaml("x.yaml", yaml).unwrap();
    let mut report = Report::new();
    super::check(message, &document.root, &ConfigPath::root(), &mut report);
    report.to_string()
}

#[test]
fn what_meets_all_demands_is_not_mentioned() {
    let cluster = "
name: c
connect_timeout: 0.25s
load_assignment:
  cluster_name: c
  endpoints:
  - lb_endpoints:
    - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 80 } } }
";
    assert_eq!(unmet("envoy.config.cluster.v3.Cluster", cluster), "");
}

#[test]
fn a_text_has_to_be_as_long_as_demanded_even_if_it_is_absent() {
    let absent = unmet("envoy.config.cluster.v3.Cluster", "connect_timeout: 1s");
    assert_snapshot!(absent, @"x.yaml:1:1: error: name: value length must be at least 1 character");
    let empty = unmet("envoy.config.cluster.v3.Cluster", "name: ''");
    assert_snapshot!(empty, @"x.yaml:1:7: error: name: value length must be at least 1 character");
    let long = format!("tag_name: t\nregex: {}", "x".repeat(1025));
    let long = unmet("envoy.config.metrics.v3.TagSpecifier", &long);
    assert!(
        long.starts_with("x.yaml:2:8: error: regex: value length must be at most 1024 bytes, not \"xxx"),
        "{long}"
    );
}

#[test]
fn a_number_has_to_be_in_its_range_in_a_wrapper_too() {
    let listener = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
    assert_snapshot!(
        unmet(listener, "buffer_size_kb: 8193"),
        @"x.yaml:1:17: error: buffer_size_kb: value must be inside range [1, 8192], not 8193"
    );
    assert_snapshot!(
        unmet(listener, "bufferSizeKb: '0'"),
        @"x.yaml:1:15: error: buffer_size_kb: value must be inside range [1, 8192], not 0"
    );
    assert_eq!(unmet(listener, "{}"), "");
    assert_eq!(unmet(listener, "buffer_size_kb: null"), "");
    assert_snapshot!(
        unmet("envoy.config.core.v3.Pipe", "{ path: /p, mode: 512 }"),
        @"x.yaml:1:19: error: mode: value must be less than or equal to 511, not 512"
    );
}

#[test]
fn a_duration_has_to_be_in_its_range() {
    assert_snapshot!(
        unmet("envoy.config.bootstrap.v3.Bootstrap", "stats_flush_interval: 300s"),
        @"x.yaml:1:23: error: stats_flush_interval: value must be inside range [0.001s, 300s), not 300s"
    );
    assert_snapshot!(
        unmet("envoy.config.cluster.v3.Cluster", "{ name: c, connect_timeout: 0s }"),
        @"x.yaml:1:29: error: connect_timeout: value must be greater than 0s, not 0s"
    );
}

#[test]
fn a_message_may_be_required() {
    assert_snapshot!(
        unmet("envoy.config.metrics.v3.HistogramBucketSettings", "buckets: [1]"),
        @"x.yaml:1:1: error: match: value is required"
    );
    assert_snapshot!(
        unmet("envoy.config.core.v3.TypedExtensionConfig", "name: x\ntyped_config: null"),
        @"x.yaml:1:1: error: typed_config: value is required"
    );
}

#[test]
fn exactly_one_member_of_a_oneof_is_set() {
    assert_snapshot!(
        unmet("envoy.config.bootstrap.v3.RuntimeLayer", "name: r"),
        @"x.yaml:1:1: error: one of static_layer, disk_layer, admin_layer, rtds_layer must be set (layer_specifier)"
    );
    assert_snapshot!(
        unmet("envoy.config.bootstrap.v3.RuntimeLayer", "{ name: r, static_layer: {}, adminLayer: {} }"),
        @"x.yaml:1:1: error: only one of static_layer, admin_layer can be set (layer_specifier)"
    );
    assert_snapshot!(
        unmet("envoy.config.core.v3.EnvoyInternalAddress", "{}"),
        @"x.yaml:1:1: error: server_listener_name must be set (address_name_specifier)"
    );
    let no_type = "name: c";
    assert_eq!(unmet("envoy.config.cluster.v3.Cluster", no_type), "", "this oneof is not required");
    assert_eq!(
        unmet("envoy.config.core.v3.SocketAddress", "{ address: a, port_value: 0 }"),
        "",
        "zero is set"
    );
}

#[test]
fn a_boolean_may_have_one_good_value_only() {
    assert_snapshot!(
        unmet("envoy.config.bootstrap.v3.Bootstrap", "stats_flush_on_admin: false"),
        @"x.yaml:1:23: error: stats_flush_on_admin: value must be true"
    );
}

#[test]
fn enums_may_exclude_values() {
    let check = "
name: a
timeout: 1s
interval: 1s
unhealthy_threshold: 1
healthy_threshold: 1
http_health_check: { path: /, method: CONNECT }
";
    assert_snapshot!(
        unmet("envoy.config.core.v3.HealthCheck", check),
        @"x.yaml:7:39: error: http_health_check.method: value must not be CONNECT"
    );
    assert_snapshot!(
        unmet("envoy.config.cluster.v3.Cluster", "{ name: c, lb_policy: 99 }"),
        @"x.yaml:1:23: error: lb_policy: value must be one of ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, LOAD_BALANCING_POLICY_CONFIG, not 99"
    );
}

#[test]
fn lists_have_demands_on_their_length_and_on_their_elements() {
    assert_snapshot!(
        unmet("envoy.config.overload.v3.OverloadManager", "refresh_interval: 1s"),
        @"x.yaml:1:1: error: resource_monitors: value must contain at least 1 item, not 0"
    );
    assert_snapshot!(
        unmet("envoy.config.listener.v3.FilterChainMatch", "source_ports: [80, 0]"),
        @"x.yaml:1:20: error: source_ports[1]: value must be inside range [1, 65535], not 0"
    );
    assert_snapshot!(
        unmet("envoy.config.metrics.v3.HistogramBucketSettings", "match: { exact: x }\nbuckets: [1, 2, 1]"),
        @"x.yaml:2:17: error: buckets[2]: value must not be there twice"
    );
}

#[test]
fn maps_have_demands_on_their_keys() {
    assert_snapshot!(
        unmet("envoy.config.core.v3.Metadata", "filter_metadata: { '': {} }"),
        @r#"x.yaml:1:20: error: filter_metadata[""]: key: value length must be at least 1 character"#
    );
}

#[test]
fn texts_may_have_to_follow_a_pattern() {
    let histogram = "envoy.extensions.access_loggers.stats.v3.Config.Histogram";
    assert_snapshot!(
        unmet(histogram, "{ stat: { name: x }, value_format: x }"),
        @r#"
    x.yaml:1:36: error: value_format: value must start with "%", not "x"
    x.yaml:1:36: error: value_format: value must end with "%", not "x"
    "#
    );
    assert_snapshot!(
        unmet("envoy.config.core.v3.HeaderValue", "key: \"a\\nb\""),
        @r#"x.yaml:1:6: error: key: value must not have NUL, CR or LF, not "a\nb""#
    );
    assert_snapshot!(
        unmet("envoy.config.core.v3.SchemeHeaderTransformation", "scheme_to_overwrite: ftp"),
        @r#"x.yaml:1:22: error: scheme_to_overwrite: value must be one of http, https, not "ftp""#
    );
}

#[test]
fn typed_configs_are_checked_as_what_they_say_they_are() {
    let filter = |typed_config: &str| {
        let yaml = format!("name: f\ntyped_config: {typed_config}");
        unmet("envoy.config.listener.v3.Filter", &yaml)
    };
    assert_snapshot!(
        filter("{ '@type': x.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s }"),
        @"x.yaml:2:15: error: typed_config: one of cluster, weighted_clusters must be set (cluster_specifier)"
    );
    assert_snapshot!(
        filter("{ value: { cluster: c }, typeUrl: a/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
                '@type': b/xds.type.v3.TypedStruct }"),
        @"x.yaml:2:24: error: typed_config.value.stat_prefix: value length must be at least 1 character"
    );
    assert_eq!(filter("{ '@type': x.com/third.party.Filter, stat_prefix: '' }"), "", "only its author knows");
}

#[test]
fn what_is_of_the_wrong_kind_is_left_to_the_reader() {
    for cluster in
        ["[]", "{ name: [] }", "{ name: c, connect_timeout: soon }", "{ name: c, load_assignment: 1 }"]
    {
        let said = unmet("envoy.config.cluster.v3.Cluster", cluster);
        assert_eq!(said, "", "{cluster}");
    }
}
