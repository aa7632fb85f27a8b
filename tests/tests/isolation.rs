//! A panic in a filter ends the connection it served, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{io::Write as _, path::Path};

use serde_json::{Value, json};
use underpass_tests::{
    Chain, Origin, Proxy, Start, With,
    client::{End, ask, read_all},
    config::{bootstrap, cluster, internal, internal_listener, listener, log_to, port, tcp_proxy},
};

/// `outer` → `inner` → origin, where the filter with the bug stands in one of the two listeners.
fn with_the_bug_in(place: &str, origin: &Origin) -> Proxy {
    let filters = |name: &str, cluster: &str| -> Vec<Value> {
        let buggy = json!({ "name": "buggy", "typed_config": { "@type": "type.googleapis.com/underpass.tests.Panicking" } });
        let proxy = tcp_proxy(name, cluster).with(log_to(&format!("{name}.log"), Chain::ENDING));
        if name == place { vec![buggy, proxy] } else { vec![proxy] }
    };
    let config = bootstrap(
        [listener("outer", filters("outer", "to_inner")), internal_listener("inner", filters("inner", "up"))],
        [cluster("to_inner", [internal("inner")]), cluster("up", [port(origin.port())])],
    );
    Start::new(config).binary(Path::new(env!("CARGO_BIN_EXE_panicking"))).start()
}

fn one_panic(place: &str, stat_prefix: &str) {
    let origin = Origin::echo();
    let mut proxy = with_the_bug_in(place, &origin);
    let mut steady = proxy.connect("outer");
    assert_eq!(ask(&mut steady, "hello"), "hello");

    for count in 1..=3 {
        let mut client = proxy.connect("outer");
        assert_eq!(ask(&mut client, "fine"), "fine");
        client.write_all(b"not fine!").unwrap();
        let (heard, end) = read_all(&mut client);
        assert_eq!(heard, "", "{place}");
        assert_ne!(end, End::Open, "{place}");
        proxy.admin().wait_stat(&format!("listener.{stat_prefix}.underpass_filter_panic"), count);
    }

    // The connection that was there goes on, and so do new ones.
    assert_eq!(ask(&mut steady, "still here"), "still here");
    assert_eq!(ask(&mut proxy.connect("outer"), "and new"), "and new");
    drop(steady);
    proxy.admin().wait_idle();
    assert!(proxy.stop().0.success());
    // Each connection has its line, those that ended by a panic too.
    for log in ["outer.log", "inner.log"] {
        assert_eq!(proxy.lines_now(log).len(), 5, "{place}: {log}");
    }
    let said = proxy.log();
    assert_eq!(
        said.matches("a filter panicked").count(),
        1,
        "said once, so that it cannot flood the log:\n{said}"
    );
    assert!(said.contains("cannot bear"), "with its message:\n{said}");
}

#[test]
fn panic_in_a_filter_of_a_tcp_listener_ends_its_connection_only() {
    one_panic("outer", "127.0.0.1_0");
}

#[test]
fn panic_in_a_filter_of_an_internal_listener_ends_its_connection_only() {
    one_panic("inner", "envoy_internal_inner");
}
