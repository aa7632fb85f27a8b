//! A chain of internal hops that leads back to itself: reported when the configuration is read, cut when a connection
//! goes round, and no harm to anybody else.

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, Start, With,
    client::{End, ask, read_all},
    config::{Config, bootstrap, cluster, internal, internal_listener, listener, port, tcp_proxy},
    mistake::outcome,
};

/// `entry` → `ping` → `pong` → `ping` …, and beside it `steady` → `inner` → origin.
fn ping_pong(origin: &Origin) -> Value {
    bootstrap(
        [
            listener("entry", [tcp_proxy("entry", "to_ping")]),
            internal_listener("ping", [tcp_proxy("ping", "to_pong")]),
            internal_listener("pong", [tcp_proxy("pong", "to_ping")]),
            listener("steady", [tcp_proxy("steady", "to_inner")]),
            internal_listener("inner", [tcp_proxy("inner", "up")]),
        ],
        [
            cluster("to_ping", [internal("ping")]),
            cluster("to_pong", [internal("pong")]),
            cluster("to_inner", [internal("inner")]),
            cluster("up", [port(origin.port())]),
        ],
    )
}

fn runtime(keys: &Value) -> Value {
    json!({ "layered_runtime": { "layers": [{ "name": "static", "static_layer": keys }] } })
}

#[test]
fn cycle_is_reported_with_the_names_on_its_way() {
    let origin = Origin::echo();
    let (code, said) = outcome(&Config::from(ping_pong(&origin)).0, "validate");
    assert_eq!(code, Some(0), "{said}");
    let warning = said.lines().find(|line| line.contains("cycle of internal hops"));
    let warning = warning.unwrap_or_else(|| panic!("no warning in\n{said}"));
    for part in ["warning: ", "listener ping", "cluster to_pong", "listener pong", "cluster to_ping"] {
        assert!(warning.contains(part), "no {part} in {warning}");
    }
    assert!(!warning.contains("inner"), "{warning}");
}

/// A client of the loop is closed while another one goes on.
#[track_caller]
fn cut_while_others_go_on(proxy: &Proxy) {
    let mut steady = proxy.connect("steady");
    assert_eq!(ask(&mut steady, "before"), "before");
    let (heard, end) = read_all(&mut proxy.connect("entry"));
    assert_eq!(heard, "");
    assert_ne!(end, End::Open);
    assert_eq!(ask(&mut steady, "after"), "after");
    drop(steady);
    proxy.admin().wait_idle();
}

#[test]
fn connection_that_goes_round_is_cut_after_the_maximal_number_of_hops() {
    let origin = Origin::echo();
    for (limit, keys) in [(32, json!({})), (5, json!({ "underpass.max_internal_hops": 5 }))] {
        let proxy = Proxy::start(ping_pong(&origin).with(runtime(&keys)));
        cut_while_others_go_on(&proxy);
        let stats = proxy.admin().stats();
        let sum = |name: &str| -> u64 {
            let of = |prefix: &str| stats.get(&format!("listener.{prefix}.{name}")).copied().unwrap_or(0);
            ["ping", "pong", "envoy_internal_ping", "envoy_internal_pong"].into_iter().map(of).sum()
        };
        assert_eq!(sum("internal_hop_limit"), 1, "{limit}");
        assert_eq!(sum("downstream_cx_total"), limit, "{limit}");
    }
}

#[test]
fn chain_as_long_as_the_limit_is_served() {
    let origin = Origin::echo();
    let keys = runtime(&json!({ "underpass.max_internal_hops": 6 }));
    let chain = underpass_tests::config::hops(6, origin.port()).with(keys);
    assert_eq!(ask(&mut Proxy::start(chain).connect("hop0"), "six hops"), "six hops");
}

#[test]
fn loop_is_bounded_by_the_circuit_breakers_as_in_envoy_if_that_is_asked_for() {
    let origin = Origin::echo();
    let mut config = ping_pong(&origin);
    let breaker = json!({ "circuit_breakers": { "thresholds": [{ "max_connections": 100 }] } });
    for at in 0..2 {
        let cluster = config["static_resources"]["clusters"][at].clone();
        config["static_resources"]["clusters"][at] = cluster.with(breaker.clone());
    }
    let proxy = Start::new(config).arguments(["--compat", "envoy"]).start();
    let mut steady = proxy.connect("steady");
    assert_eq!(ask(&mut steady, "before"), "before");
    let client = proxy.connect("entry");
    proxy.admin().wait_stat("cluster.to_ping.upstream_cx_overflow", 1);
    assert_eq!(proxy.admin().stat("cluster.to_ping.upstream_cx_total"), 100);
    assert_eq!(ask(&mut steady, "after"), "after");
    drop((client, steady));
    proxy.admin().wait_idle();
}
