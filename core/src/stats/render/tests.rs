use super::*;
use crate::matcher::StringMatcher;
use crate::stats::{BucketBounds, BucketSettings, Scope, Store, StoreOptions, Unit};

/// A few stats of each kind; the scope keeps them.
fn example() -> (Store, Scope) {
    // Few buckets, so that the pages below stay short.
    let names = StringMatcher::prefix("");
    let buckets =
        BucketSettings::new(vec![BucketBounds { names, bounds: vec![0.5, 32.0, 300_000.0, 1_800_000.0] }]);
    let store = Store::with_options(1, StoreOptions { buckets, ..StoreOptions::default() });
    let root = store.scope("");
    root.counter("cluster.up.upstream_cx_total").add(3);
    root.counter("cluster.b.upstream_cx_total").add(4);
    let _ = root.counter("cluster.up.upstream_cx_overflow");
    root.counter("cluster.up.upstream_rq_200").inc();
    root.gauge("cluster.up.upstream_cx_active").set(2);
    root.gauge("server.live").set(1);
    root.text_readout("control_plane.identifier").set("a \"quoted\" one");
    let lengths = root.histogram("cluster.up.upstream_cx_length_ms", Unit::Milliseconds);
    let _ = root.histogram("cluster.up.upstream_rq_per_cx", Unit::Unspecified);
    for length in [7, 32, 400_000] {
        lengths.record(length);
    }
    store.merge_histograms();
    (store, root)
}

fn answer(query: &str) -> String {
    let parameters = query.split('&').map(|word| word.split_once('=').unwrap_or((word, "")));
    let (store, _kept) = example();
    match Query::parse(parameters) {
        Ok(query) => render(&store.snapshot(), &query).unwrap_or_else(|error| error.to_string()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn text_lists_everything_by_name() {
    insta::assert_snapshot!(answer(""), @r#"
    control_plane.identifier: "a "quoted" one"
    cluster.b.upstream_cx_total: 4
    cluster.up.upstream_cx_active: 2
    cluster.up.upstream_cx_overflow: 0
    cluster.up.upstream_cx_total: 3
    cluster.up.upstream_rq_200: 1
    server.live: 1
    cluster.up.upstream_cx_length_ms: P0(7.05,7.05) P25(7.05,7.05) P50(32.5,32.5) P75(405000,405000) P90(405000,405000) P95(405000,405000) P99(405000,405000) P99.5(405000,405000) P99.9(405000,405000) P100(405000,405000)
    cluster.up.upstream_rq_per_cx: No recorded values
    "#);
}

#[test]
fn text_shows_histograms_in_several_ways() {
    insta::assert_snapshot!(answer("type=Histograms&usedonly&histogram_buckets=cumulative"), @"cluster.up.upstream_cx_length_ms: B0.5(0,0) B32(2,2) B300000(2,2) B1.8e+06(3,3)");
    insta::assert_snapshot!(answer("type=Histograms&usedonly&histogram_buckets=disjoint"), @"cluster.up.upstream_cx_length_ms: B0.5(0,0) B32(2,2) B300000(0,0) B1.8e+06(1,1)");
    insta::assert_snapshot!(answer("type=Histograms&usedonly&histogram_buckets=detailed"), @r"
    cluster.up.upstream_cx_length_ms:
      totals=7,0.1:1, 32,1:1, 400000,10000:1
      intervals=7,0.1:1, 32,1:1, 400000,10000:1
      summary=P0(7.05,7.05) P25(7.05,7.05) P50(32.5,32.5) P75(405000,405000) P90(405000,405000) P95(405000,405000) P99(405000,405000) P99.5(405000,405000) P99.9(405000,405000) P100(405000,405000)
    ");
}

#[test]
fn json_has_values_and_then_histograms() {
    insta::assert_snapshot!(answer("format=json&filter=(active|ident|length)"), @r#"{"stats":[{"name":"control_plane.identifier","value":"a \"quoted\" one"},{"name":"cluster.up.upstream_cx_active","value":2},{"histograms":{"supported_quantiles":[0,25,50,75,90,95,99,99.5,99.9,100],"computed_quantiles":[{"name":"cluster.up.upstream_cx_length_ms","values":[{"cumulative":7.05,"interval":7.05},{"cumulative":7.05,"interval":7.05},{"cumulative":32.5,"interval":32.5},{"cumulative":405000,"interval":405000},{"cumulative":405000,"interval":405000},{"cumulative":405000,"interval":405000},{"cumulative":405000,"interval":405000},{"cumulative":405000,"interval":405000},{"cumulative":405000,"interval":405000},{"cumulative":405000,"interval":405000}]}]}}]}"#);
    insta::assert_snapshot!(answer("format=json&filter=nothing"), @r#"{"stats":[]}"#);
}

#[test]
fn json_shows_histograms_in_several_ways() {
    insta::assert_snapshot!(answer("format=json&filter=length&histogram_buckets=cumulative"), @r#"{"stats":[{"histograms":[{"name":"cluster.up.upstream_cx_length_ms","buckets":[{"upper_bound":0.5,"interval":0,"cumulative":0},{"upper_bound":32,"interval":2,"cumulative":2},{"upper_bound":3e+05,"interval":2,"cumulative":2},{"upper_bound":1800000,"interval":3,"cumulative":3}]}]}]}"#);
    insta::assert_snapshot!(answer("format=json&filter=length&histogram_buckets=disjoint"), @r#"{"stats":[{"histograms":[{"name":"cluster.up.upstream_cx_length_ms","buckets":[{"upper_bound":0.5,"interval":0,"cumulative":0},{"upper_bound":32,"interval":2,"cumulative":2},{"upper_bound":3e+05,"interval":0,"cumulative":0},{"upper_bound":1800000,"interval":1,"cumulative":1}]}]}]}"#);
    let detailed = answer("format=json&filter=length&histogram_buckets=detailed");
    insta::assert_snapshot!(detailed.split_once(r#","percentiles""#).unwrap_or_default().0, @r#"{"stats":[{"histograms":{"supported_percentiles":[0,25,50,75,90,95,99,99.5,99.9,100],"details":[{"name":"cluster.up.upstream_cx_length_ms","totals":[{"lower_bound":7,"width":0.1,"count":1},{"lower_bound":32,"width":1,"count":1},{"lower_bound":4e+05,"width":10000,"count":1}],"intervals":[{"lower_bound":7,"width":0.1,"count":1},{"lower_bound":32,"width":1,"count":1},{"lower_bound":4e+05,"width":10000,"count":1}]"#);
}

#[test]
fn prometheus_groups_families() {
    insta::assert_snapshot!(answer("format=prometheus&filter=(cx_total|cx_active|rq_200|live)&text_readouts"), @r#"
    # TYPE envoy_cluster_upstream_cx_total counter
    envoy_cluster_upstream_cx_total{envoy_cluster_name="b"} 4
    envoy_cluster_upstream_cx_total{envoy_cluster_name="up"} 3
    # TYPE envoy_cluster_upstream_rq counter
    envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="up"} 1
    # TYPE envoy_cluster_upstream_cx_active gauge
    envoy_cluster_upstream_cx_active{envoy_cluster_name="up"} 2
    # TYPE envoy_server_live gauge
    envoy_server_live{} 1
    "#);
    insta::assert_snapshot!(answer("format=prometheus&filter=ident&text_readouts"), @r#"
    # TYPE envoy_control_plane_identifier gauge
    envoy_control_plane_identifier{text_value="a \"quoted\" one"} 0
    "#);
}

#[test]
fn prometheus_histograms_have_buckets_or_quantiles() {
    insta::assert_snapshot!(answer("format=prometheus&filter=length"), @r#"
    # TYPE envoy_cluster_upstream_cx_length_ms histogram
    envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name="up",le="0.5"} 0
    envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name="up",le="32"} 2
    envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name="up",le="300000"} 2
    envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name="up",le="1800000"} 3
    envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name="up",le="+Inf"} 3
    envoy_cluster_upstream_cx_length_ms_sum{envoy_cluster_name="up"} 404977.81355802062898874282836914
    envoy_cluster_upstream_cx_length_ms_count{envoy_cluster_name="up"} 3
    "#);
    insta::assert_snapshot!(answer("format=prometheus&filter=length&histogram_buckets=summary"), @r#"
    # TYPE envoy_cluster_upstream_cx_length_ms summary
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0"} 7.049999999999999822364316059975
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.25"} 7.049999999999999822364316059975
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.5"} 32.5
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.75"} 405000
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.9"} 405000
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.95"} 405000
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.99"} 405000
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.995"} 405000
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="0.999"} 405000
    envoy_cluster_upstream_cx_length_ms{envoy_cluster_name="up",quantile="1"} 405000
    envoy_cluster_upstream_cx_length_ms_sum{envoy_cluster_name="up"} 404977.81355802062898874282836914
    envoy_cluster_upstream_cx_length_ms_count{envoy_cluster_name="up"} 3
    "#);
}

#[test]
fn filters_select_by_name_kind_and_use() {
    insta::assert_snapshot!(answer("filter=^cluster.*cx_(total|overflow)&type=Counters"), @r"
    cluster.b.upstream_cx_total: 4
    cluster.up.upstream_cx_overflow: 0
    cluster.up.upstream_cx_total: 3
    ");
    insta::assert_snapshot!(answer("usedonly&filter=cx_overflow"), @"");
    insta::assert_snapshot!(answer("invert_filter&filter=^cluster"), @r#"
    control_plane.identifier: "a "quoted" one"
    server.live: 1
    "#);
}

#[test]
fn wrong_parameters_are_explained() {
    insta::assert_snapshot!(answer("format=xml"), @"usage: /stats?format=(json|prometheus|text)");
    insta::assert_snapshot!(answer("type=Foo"), @"invalid &type= param");
    insta::assert_snapshot!(answer("histogram_buckets=x"), @"usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)");
    insta::assert_snapshot!(answer("format=prometheus&histogram_buckets=disjoint"), @"unsupported prometheus histogram bucket mode");
    assert!(answer("filter=(").starts_with("Invalid re2 regex: "));
}
