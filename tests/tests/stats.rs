//! Statistics as operators see them: filters, formats, Prometheus, tags, resetting.

#![expect(clippy::expect_used, reason = "a test that cannot go on shall say so and end")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use underpass_tests::{
    Chain, Origin, Proxy, With,
    client::ask,
    config::{bootstrap, listener, tcp_proxy},
    eventually,
    proxy::after_one_connection,
};

#[test]
fn text_is_sorted_and_histograms_come_last() {
    let proxy = after_one_connection(|chain| chain);
    let text = proxy.admin().get("/stats");
    let (mut numbers, mut histograms) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        if value.parse::<u64>().is_ok() {
            assert!(histograms.is_empty(), "{name} stands behind histograms");
            numbers.push(name);
        } else {
            assert!(value.starts_with("P0(") || value == "No recorded values", "{line}");
            histograms.push(name);
        }
    }
    assert!(numbers.is_sorted(), "{text}");
    assert!(histograms.is_sorted(), "{text}");
    assert!(numbers.len() > 100 && !histograms.is_empty(), "{text}");
}

#[test]
fn histograms_show_quantiles_once_the_interval_is_over() {
    let proxy = after_one_connection(|chain| chain.bootstrap(json!({ "stats_flush_interval": "0.1s" })));
    eventually("the histogram shows its value", || {
        let line = proxy.admin().get("/stats?filter=^cluster.up.upstream_cx_length_ms$");
        line.starts_with("cluster.up.upstream_cx_length_ms: P0(")
            && line.contains(" P99.9(")
            && line.contains(" P100(")
    });
}

#[test]
fn filter_usedonly_and_type_select() {
    let proxy = after_one_connection(|chain| chain);
    let used = proxy.admin().get("/stats?usedonly&filter=^tcp\\.inner");
    assert!(used.contains("tcp.inner.downstream_cx_total: 1\n"), "{used}");
    assert!(
        used.lines().all(|line| line.starts_with("tcp.inner.")) && !used.contains("idle_timeout"),
        "{used}"
    );
    let pattern = "filter=^cluster\\.up\\.upstream_cx_(total|active)$";
    assert_eq!(
        proxy.admin().get(&format!("/stats?type=Counters&{pattern}")),
        "cluster.up.upstream_cx_total: 1\n"
    );
    assert_eq!(
        proxy.admin().get(&format!("/stats?type=Gauges&{pattern}")),
        "cluster.up.upstream_cx_active: 0\n"
    );
    assert_eq!(proxy.admin().get(&format!("/stats?type=Histograms&{pattern}")), "");
    assert_eq!(proxy.admin().get("/stats?filter=^no_such_stat$"), "");
}

#[test]
fn wrong_questions_are_refused() {
    let proxy = Proxy::start(bootstrap([], []));
    for path in ["/stats?format=bogus", "/stats?filter=(", "/stats?type=Bogus"] {
        let answer = proxy.admin().ask("GET", path);
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
    }
}

#[test]
fn json_has_values_and_histograms() {
    let proxy = after_one_connection(|chain| chain);
    let stats = proxy.admin().json("/stats?format=json");
    let entries = stats["stats"].as_array().unwrap();
    let named = |name: &str| entries.iter().find(|it| it["name"] == name).map(|it| it["value"].clone());
    assert_eq!(named("tcp.inner.downstream_cx_rx_bytes_total"), Some(json!(5)));
    assert_eq!(named("cluster.to_inner.upstream_cx_active"), Some(json!(0)));
    let histograms = entries.iter().find_map(|it| it.get("histograms")).expect("histograms");
    assert_eq!(histograms["supported_quantiles"], json!([0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]));
    let computed = histograms["computed_quantiles"].as_array().unwrap();
    let length =
        computed.iter().find(|it| it["name"] == "cluster.up.upstream_cx_length_ms").expect("a histogram");
    let values = length["values"].as_array().unwrap();
    assert_eq!(values.len(), 10);
    assert!(
        values.iter().all(|it| it.get("cumulative").is_some() && it.get("interval").is_some()),
        "{values:?}"
    );
    let few = proxy.admin().json("/stats?format=json&usedonly&filter=^tcp.inner");
    let few: Vec<&Value> = few["stats"].as_array().unwrap().iter().collect();
    assert!(
        few.iter().all(|it| it["name"].as_str().is_some_and(|name| name.starts_with("tcp.inner."))),
        "{few:?}"
    );
}

/// The samples of a Prometheus text by `name{label="value",…}`, labels sorted; panics where the text is no such text.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let mut family = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').expect("a family has a name and a type");
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            family = name;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.starts_with(family), "{name} does not belong to {family}");
        assert!(name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_'), "{name}");
        let labels = labels.strip_suffix('}').expect("labels end with a brace");
        let mut labels: Vec<&str> =
            labels.split_inclusive("\",").map(|it| it.trim_end_matches(',')).collect();
        labels.sort_unstable();
        for label in labels.iter().filter(|it| !it.is_empty()) {
            let (key, value) = label.split_once("=\"").expect("a label has a value");
            assert!(!key.is_empty() && value.ends_with('"'), "{line}");
        }
        let key = format!("{name}{{{}}}", labels.join(","));
        assert!(found.insert(key, value.parse().expect("a number")).is_none(), "twice: {series}");
    }
    found
}

#[test]
fn prometheus_names_and_labels_are_envoys() {
    let proxy = after_one_connection(|chain| chain);
    let text = proxy.admin().get("/stats/prometheus");
    let samples = samples(&text);
    for (series, value) in [
        (r#"envoy_cluster_upstream_cx_total{envoy_cluster_name="to_inner"}"#, 1.0),
        (r#"envoy_cluster_upstream_cx_rx_bytes_total{envoy_cluster_name="up"}"#, 5.0),
        (r#"envoy_tcp_downstream_cx_total{envoy_tcp_prefix="inner"}"#, 1.0),
        (r#"envoy_listener_downstream_cx_total{envoy_listener_address="envoy_internal_inner"}"#, 1.0),
        (r#"envoy_listener_downstream_cx_total{envoy_listener_address="127.0.0.1_0"}"#, 1.0),
        (
            r#"envoy_listener_worker_downstream_cx_total{envoy_listener_address="envoy_internal_inner",envoy_worker_id="0"}"#,
            1.0,
        ),
        ("envoy_server_live{}", 1.0),
        ("envoy_listener_manager_listener_added{}", 2.0),
        (r#"envoy_cluster_circuit_breakers_default_cx_open{envoy_cluster_name="up"}"#, 0.0),
        (r#"envoy_cluster_upstream_cx_length_ms_count{envoy_cluster_name="up"}"#, 0.0),
    ] {
        let found = samples.get(series).unwrap_or_else(|| panic!("no {series} in\n{text}"));
        // Histograms are counted at the end of an interval.
        assert!((found - value).abs() < 0.5 || series.contains("_ms_"), "{series} {found}");
    }
    for line in [
        "# TYPE envoy_cluster_upstream_cx_total counter",
        "# TYPE envoy_listener_downstream_cx_active gauge",
        "# TYPE envoy_cluster_upstream_cx_length_ms histogram",
    ] {
        assert_eq!(text.lines().filter(|it| *it == line).count(), 1, "{line}");
    }
    assert_eq!(proxy.admin().get("/stats?format=prometheus&filter=no_such"), "");
    let some = proxy.admin().get("/stats?format=prometheus&usedonly&filter=^tcp\\.");
    assert!(some.lines().all(|line| line.contains("envoy_tcp_")) && !some.is_empty(), "{some}");
}

#[test]
fn counters_are_reset_and_gauges_are_not() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin));
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "hello"), "hello");
    assert_eq!(proxy.admin().post("/reset_counters"), "OK\n");
    assert_eq!(proxy.admin().stat("tcp.inner.downstream_cx_total"), 0);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_total"), 0);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_active"), 1);
    // They count on from there.
    assert_eq!(ask(&mut client, "hi"), "hi");
    proxy.admin().wait_stat("tcp.inner.downstream_cx_rx_bytes_total", 2);
    drop(client);
    proxy.admin().wait_idle();
}

#[test]
fn tags_of_ones_own_become_labels() {
    let tags = json!({ "stats_config": { "stats_tags": [
        { "tag_name": "zone", "fixed_value": "z1" },
    ]}});
    let proxy = after_one_connection(|chain| chain.bootstrap(tags));
    let samples = samples(&proxy.admin().get("/stats/prometheus"));
    let own = r#"envoy_cluster_upstream_cx_total{envoy_cluster_name="up",zone="z1"}"#;
    assert!(samples.contains_key(own), "{:?}", samples.keys().collect::<Vec<_>>());
}

#[test]
fn matcher_leaves_stats_out() {
    let matcher = json!({ "stats_config": { "stats_matcher": {
        "inclusion_list": { "patterns": [{ "prefix": "tcp.inner" }, { "suffix": "upstream_cx_total" }] }
    }}});
    let proxy = after_one_connection(|chain| chain.bootstrap(matcher));
    let stats = proxy.admin().stats();
    assert_eq!(stats["tcp.inner.downstream_cx_total"], 1);
    assert_eq!(stats["cluster.up.upstream_cx_total"], 1);
    let kept = |name: &String| name.starts_with("tcp.inner") || name.ends_with("upstream_cx_total");
    let others: Vec<_> = stats.keys().filter(|name| !kept(name)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn listener_may_name_its_stats() {
    let named = listener("outer", [tcp_proxy("outer", "nowhere")]).with(json!({ "stat_prefix": "front" }));
    let proxy = Proxy::start(bootstrap([named], []));
    drop(proxy.connect("outer"));
    proxy.admin().wait_stat("listener.front.downstream_cx_total", 1);
}
