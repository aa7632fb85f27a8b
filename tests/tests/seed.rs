//! The documented example: a TCP listener chained to an internal listener, in the form in which Envoy's documentation has
//! it, and in the form that Envoy accepts today.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{Shutdown, TcpListener},
    process::Command,
};

use underpass_tests::{
    Origin, Proxy, Start, binary,
    client::{End, ask, read_all},
    example::Example,
    proxy,
};

/// Data in both directions, the client finishes first.
fn client_finishes_first(example: Example) {
    let origin = Origin::sink();
    let proxy = Proxy::start(example.in_front_of(&origin));
    let mut client = proxy.connect(example.entry);
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), ("got 5".into(), End::Eof));
    proxy.admin().wait_idle();
}

#[test]
fn seed_carries_data_and_a_half_close() {
    client_finishes_first(Example::SEED);
}

#[test]
fn modern_form_carries_data_and_a_half_close() {
    client_finishes_first(Example::MODERN);
}

/// Data in both directions, the upstream finishes first.
fn upstream_finishes_first(example: Example) {
    let origin = Origin::speak_first("bye");
    let proxy = Proxy::start(example.in_front_of(&origin));
    let mut client = proxy.connect(example.entry);
    assert_eq!(read_all(&mut client), ("bye".into(), End::Eof));
    client.write_all(b"still heard").unwrap();
    drop(client);
    assert_eq!(origin.wait(1), ["11"]);
    proxy.admin().wait_idle();
}

#[test]
fn seed_lets_the_upstream_finish_first() {
    upstream_finishes_first(Example::SEED);
}

#[test]
fn modern_form_lets_the_upstream_finish_first() {
    upstream_finishes_first(Example::MODERN);
}

/// What one connection with five bytes each way moves. These are all stats of clusters, listeners and TCP proxies.
fn every_hop_counts(example: Example) {
    let origin = Origin::echo();
    let proxy = Proxy::start(example.in_front_of(&origin));
    let mut client = proxy.connect(example.entry);
    assert_eq!(ask(&mut client, "hello"), "hello");
    drop(client);
    proxy.admin().wait_idle();

    let mut expected = BTreeMap::new();
    for cluster in ["bridge_internal_listener", "singleton_internal_encap"] {
        for (name, value) in CLUSTER {
            expected.insert(format!("cluster.{cluster}.{name}"), value);
        }
    }
    for listener in ["0.0.0.0_0", "envoy_internal_singleton_internal_encap"] {
        for name in ["downstream_cx_total", "downstream_cx_destroy", "worker_0.downstream_cx_total"] {
            expected.insert(format!("listener.{listener}.{name}"), 1);
        }
    }
    for tcp_proxy in ["svc_tcp_proxy", "encap_tcp_proxy"] {
        expected.insert(format!("tcp.{tcp_proxy}.downstream_cx_total"), 1);
        expected.insert(format!("tcp.{tcp_proxy}.downstream_cx_rx_bytes_total"), 5);
        expected.insert(format!("tcp.{tcp_proxy}.downstream_cx_tx_bytes_total"), 5);
    }
    assert_eq!(proxy.admin().moved(), expected);
}

/// The counters of a cluster after one connection of five bytes that the client closed.
const CLUSTER: [(&str, u64); 13] = [
    ("default.total_match_count", 1),
    ("membership_change", 1),
    ("membership_healthy", 1),
    ("membership_total", 1),
    ("upstream_cx_destroy", 1),
    ("upstream_cx_destroy_remote", 1),
    ("upstream_cx_destroy_remote_with_active_rq", 1),
    ("upstream_cx_destroy_with_active_rq", 1),
    ("upstream_cx_rx_bytes_total", 5),
    ("upstream_cx_total", 1),
    ("upstream_cx_tx_bytes_total", 5),
    ("upstream_rq_pending_total", 1),
    ("upstream_rq_total", 1),
];

#[test]
fn seed_counts_on_every_hop() {
    every_hop_counts(Example::SEED);
}

#[test]
fn modern_form_counts_on_every_hop() {
    every_hop_counts(Example::MODERN);
}

#[test]
fn open_connection_shows_in_the_gauges_of_every_hop() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Example::MODERN.in_front_of(&origin));
    let mut client = proxy.connect(Example::MODERN.entry);
    assert_eq!(ask(&mut client, "hello"), "hello");
    let mut active = proxy.admin().open();
    active.retain(|name, _| name.ends_with("_active"));
    let mut expected = BTreeMap::new();
    for cluster in ["bridge_internal_listener", "singleton_internal_encap"] {
        for name in ["upstream_cx_active", "upstream_rq_active"] {
            expected.insert(format!("cluster.{cluster}.{name}"), 1);
        }
    }
    for listener in ["0.0.0.0_0", "envoy_internal_singleton_internal_encap"] {
        for name in ["downstream_cx_active", "worker_0.downstream_cx_active"] {
            expected.insert(format!("listener.{listener}.{name}"), 1);
        }
    }
    assert_eq!(active, expected);
}

#[test]
fn both_forms_validate() {
    for example in [Example::SEED, Example::MODERN] {
        let output = Start::new(example.text()).arguments(["--mode", "validate"]).run();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, "configuration 'config.yaml' OK\n");
    }
}

#[test]
fn demonstration_runs_to_its_end() {
    // The demonstration uses the ports of the documentation.
    if let Some(port) =
        [19000, 19001].into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_err())
    {
        println!("skipped: port {port} is taken, which `underpass demo` needs");
        return;
    }
    let output = proxy::run(Command::new(binary::underpass()).arg("demo"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for counted in [
        "cluster.bridge_internal_listener.upstream_cx_rx_bytes_total: 1048576",
        "cluster.singleton_internal_encap.upstream_cx_tx_bytes_total: 1048576",
        "tcp.svc_tcp_proxy.downstream_cx_total: 1",
        "tcp.encap_tcp_proxy.downstream_cx_total: 1",
    ] {
        assert!(said.contains(counted), "no {counted} in\n{said}");
    }
}
