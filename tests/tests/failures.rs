//! How connections end and fail, TCP → internal listener → TCP: what the client sees, what both access logs say, what
//! is counted. The expectations are what Envoy 1.40 does.

use std::{
    io::Write as _,
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use underpass_tests::{
    Chain, Origin, Proxy,
    client::{self, End, ask, connect, read_all},
    eventually,
    origin::dead_port,
};

/// The lines of both access logs, outer and inner, after everything ended.
fn logs(mut proxy: Proxy) -> [Vec<String>; 2] {
    proxy.admin().wait_idle();
    let (status, _) = proxy.stop();
    assert!(status.success(), "{status}");
    ["outer.log", "inner.log"].map(|name| proxy.lines_now(name))
}

/// Asserts the values of counters and gauges; `connections` of the proxy are over.
#[track_caller]
fn assert_stats(proxy: &Proxy, expected: &[(&str, u64)]) {
    proxy.admin().wait_idle();
    let stats = proxy.admin().stats();
    let found: Vec<_> =
        expected.iter().map(|(name, _)| (*name, stats.get(*name).copied().unwrap_or(0))).collect();
    assert_eq!(found, expected);
}

#[test]
fn client_finishes_first_and_still_gets_the_answer() {
    let origin = Origin::sink();
    let proxy = Proxy::start(Chain::to(&origin));
    let mut client = proxy.connect("outer");
    client.write_all(&vec![b'x'; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), ("got 100000".into(), End::Eof));
    assert_eq!(logs(proxy), [["- - rx=100000 tx=10 attempts=1"], ["- - rx=100000 tx=10 attempts=1"]]);
}

#[test]
fn upstream_finishes_first_and_still_gets_what_the_client_sends() {
    let origin = Origin::speak_first("bye");
    let proxy = Proxy::start(Chain::to(&origin));
    let mut client = proxy.connect("outer");
    assert_eq!(read_all(&mut client), ("bye".into(), End::Eof));
    client.write_all(&[b'y'; 5000]).unwrap();
    drop(client);
    assert_eq!(origin.wait(1), ["5000"]);
    assert_eq!(logs(proxy), [["- - rx=5000 tx=3 attempts=1"], ["- - rx=5000 tx=3 attempts=1"]]);
}

#[test]
fn refused_upstream_fails_the_connect_of_both_proxies() {
    let proxy = Proxy::start(Chain::to_port(dead_port()));
    assert_eq!(read_all(&mut proxy.connect("outer")), (String::new(), End::Eof));
    assert_stats(
        &proxy,
        &[
            ("cluster.to_inner.upstream_cx_connect_fail", 1),
            ("cluster.to_inner.upstream_cx_total", 1),
            ("cluster.to_inner.upstream_cx_connect_attempts_exceeded", 1),
            ("cluster.to_inner.upstream_rq_pending_failure_eject", 1),
            ("cluster.up.upstream_cx_connect_fail", 1),
            ("cluster.up.upstream_cx_total", 1),
            ("cluster.up.upstream_cx_connect_attempts_exceeded", 1),
            ("cluster.up.upstream_rq_pending_failure_eject", 1),
            ("tcp.outer.downstream_cx_total", 1),
            ("tcp.inner.downstream_cx_total", 1),
        ],
    );
    let [outer, inner] = logs(proxy);
    assert_failed(&outer, "delayed_connect_error:_Invalid_argument", 1);
    assert_failed(&inner, "delayed_connect_error:_Connection_refused", 1);
}

#[test]
fn refused_upstream_resets_a_client_that_sent_data() {
    let proxy = Proxy::start(Chain::to_port(dead_port()));
    let mut client = proxy.connect("outer");
    // The proxy may be faster than this.
    let _ = client.write_all(b"hello");
    let (got, end) = read_all(&mut client);
    assert_eq!(got, "");
    // Which of the two is the kernel's choice: the data may arrive after the connection was closed.
    assert_ne!(end, End::Open);
    let [outer, inner] = logs(proxy);
    assert_failed(&outer, "delayed_connect_error:_Invalid_argument", 1);
    assert_failed(&inner, "delayed_connect_error:_Connection_refused", 1);
}

/// One line that says that connecting failed, why and after how many attempts.
#[track_caller]
fn assert_failed(lines: &[String], why: &str, attempts: u32) {
    let [line] = lines else { panic!("not one line: {lines:?}") };
    assert!(line.starts_with(&format!("UF,URX {why}")), "{line}");
    assert!(line.ends_with(&format!(" rx=0 tx=0 attempts={attempts}")), "{line}");
}

#[test]
fn inner_proxy_that_tries_again_counts_as_connected() {
    let proxy = Proxy::start(Chain::to_port(dead_port()).inner(json!({ "max_connect_attempts": 3 })));
    assert_eq!(read_all(&mut proxy.connect("outer")), (String::new(), End::Reset));
    assert_stats(
        &proxy,
        &[
            ("cluster.to_inner.upstream_cx_connect_fail", 0),
            ("cluster.up.upstream_cx_connect_fail", 3),
            ("cluster.up.upstream_cx_connect_attempts_exceeded", 1),
        ],
    );
    let [outer, inner] = logs(proxy);
    assert_eq!(outer, ["UR - rx=0 tx=0 attempts=1"]);
    assert_failed(&inner, "delayed_connect_error:_Connection_refused", 3);
}

#[test]
fn outer_proxy_that_tries_again_uses_a_new_hop_each_time() {
    let proxy = Proxy::start(Chain::to_port(dead_port()).outer(json!({ "max_connect_attempts": 3 })));
    assert_eq!(read_all(&mut proxy.connect("outer")), (String::new(), End::Eof));
    assert_stats(
        &proxy,
        &[
            ("cluster.to_inner.upstream_cx_connect_fail", 3),
            ("cluster.to_inner.upstream_cx_connect_attempts_exceeded", 1),
            ("cluster.up.upstream_cx_connect_fail", 3),
            ("cluster.up.upstream_cx_connect_attempts_exceeded", 3),
            ("tcp.inner.downstream_cx_total", 3),
        ],
    );
    let [outer, inner] = logs(proxy);
    assert_failed(&outer, "delayed_connect_error:_Invalid_argument", 3);
    assert_eq!(inner.len(), 3);
    for line in inner {
        assert_failed(&[line], "delayed_connect_error:_Connection_refused", 1);
    }
}

#[test]
fn failed_connects_wait_for_the_back_off() {
    let back_off = json!({ "max_connect_attempts": 3, "backoff_options": { "base_interval": "0.2s", "max_interval": "0.2s" } });
    let proxy = Proxy::start(Chain::to_port(dead_port()).inner(back_off));
    assert_eq!(read_all(&mut proxy.connect("outer")), (String::new(), End::Reset));
    proxy.admin().wait_stat("cluster.up.upstream_cx_connect_fail", 3);
    assert_failed(&logs(proxy)[1], "delayed_connect_error:_Connection_refused", 3);
}

/// Asks once, then waits for the end of the silent connection; how it ended, and when.
#[track_caller]
fn fall_silent(proxy: &Proxy) -> (End, Duration) {
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "hi"), "hi");
    let silent = Instant::now();
    let (rest, end) = read_all(&mut client);
    assert_eq!(rest, "");
    (end, silent.elapsed())
}

/// What the timeouts of these tests are, as far as the other end of a socket can tell.
const HALF_A_SECOND: std::ops::Range<Duration> = Duration::from_millis(450)..Duration::from_secs(5);

#[test]
fn inner_idle_timeout_resets_the_client() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin).inner(json!({ "idle_timeout": "0.5s" })));
    let (end, after) = fall_silent(&proxy);
    assert_eq!(end, End::Reset);
    assert!(HALF_A_SECOND.contains(&after), "{after:?}");
    assert_stats(&proxy, &[("tcp.inner.idle_timeout", 1), ("tcp.outer.idle_timeout", 0)]);
    assert_eq!(logs(proxy), [["UR - rx=2 tx=2 attempts=1"], ["- - rx=2 tx=2 attempts=1"]]);
}

#[test]
fn outer_idle_timeout_closes_the_client() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin).outer(json!({ "idle_timeout": "0.5s" })));
    let (end, after) = fall_silent(&proxy);
    assert_eq!(end, End::Eof);
    assert!(HALF_A_SECOND.contains(&after), "{after:?}");
    assert_stats(&proxy, &[("tcp.inner.idle_timeout", 0), ("tcp.outer.idle_timeout", 1)]);
    assert_eq!(logs(proxy), [["- - rx=2 tx=2 attempts=1"], ["- - rx=2 tx=2 attempts=1"]]);
}

#[test]
fn inner_maximal_duration_resets_the_client() {
    let origin = Origin::echo();
    let limit = json!({ "max_downstream_connection_duration": "0.5s" });
    let proxy = Proxy::start(Chain::to(&origin).inner(limit));
    assert_eq!(fall_silent(&proxy).0, End::Reset);
    assert_stats(&proxy, &[("tcp.inner.max_downstream_connection_duration", 1)]);
    assert_eq!(logs(proxy), [["UR - rx=2 tx=2 attempts=1"], ["DT - rx=2 tx=2 attempts=1"]]);
}

#[test]
fn maximal_duration_ends_a_busy_connection() {
    let origin = Origin::echo();
    let limit = json!({ "max_downstream_connection_duration": "0.5s" });
    let proxy = Proxy::start(Chain::to(&origin).outer(limit));
    let mut client = proxy.connect("outer");
    let mut buffer = [0; 4];
    // Never idle: as soon as one answer is there, the next is asked for.
    while client.write_all(b"tick").is_ok() && std::io::Read::read_exact(&mut client, &mut buffer).is_ok() {}
    assert_stats(&proxy, &[("tcp.outer.max_downstream_connection_duration", 1)]);
    let [outer, _] = logs(proxy);
    assert_eq!(outer.len(), 1);
    assert!(outer[0].starts_with("DT - "), "{outer:?}");
}

#[test]
fn reset_of_the_client_crosses_the_hop() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin));
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "hi"), "hi");
    client::reset(client);
    assert_eq!(origin.wait(1), ["RST"]);
    assert_eq!(logs(proxy), [["- - rx=2 tx=2 attempts=1"], ["- - rx=2 tx=2 attempts=1"]]);
}

#[test]
fn reset_of_the_upstream_crosses_the_hop() {
    let origin = Origin::reset_after_data();
    let proxy = Proxy::start(Chain::to(&origin));
    let mut client = proxy.connect("outer");
    client.write_all(b"hi").unwrap();
    assert_eq!(read_all(&mut client), (String::new(), End::Reset));
    assert_eq!(logs(proxy), [["UR - rx=2 tx=0 attempts=1"], ["UR - rx=2 tx=0 attempts=1"]]);
}

#[test]
fn connection_beyond_the_circuit_breaker_is_closed() {
    let origin = Origin::echo();
    let breaker = json!({ "circuit_breakers": { "thresholds": [{ "max_connections": 1 }] } });
    let proxy = Proxy::start(Chain::to(&origin).to_inner(breaker));
    let mut first = proxy.connect("outer");
    assert_eq!(ask(&mut first, "a"), "a");
    assert_eq!(read_all(&mut proxy.connect("outer")), (String::new(), End::Eof));
    assert_eq!(proxy.admin().stat("cluster.to_inner.upstream_cx_overflow"), 1);
    assert_eq!(proxy.admin().stat("cluster.to_inner.circuit_breakers.default.cx_open"), 1);
    assert_eq!(ask(&mut first, "b"), "b");
    drop(first);
    assert_stats(&proxy, &[("cluster.to_inner.circuit_breakers.default.cx_open", 0)]);
    let [mut outer, inner] = logs(proxy);
    outer.sort();
    assert_eq!(outer, ["- - rx=2 tx=2 attempts=1", "UO - rx=0 tx=0 attempts=0"]);
    assert_eq!(inner, ["- - rx=2 tx=2 attempts=1"]);
}

/// An origin that reads to the end, says so, and keeps its side open.
fn never_finishes() -> Origin {
    Origin::start(|mut stream: TcpStream, record| {
        underpass_tests::origin::note(record, client::drain(&mut stream).to_string());
        loop {
            thread::park();
            let _ = stream.peer_addr();
        }
    })
}

#[test]
fn upstream_that_ignores_the_end_keeps_the_chain_until_it_is_idle() {
    let origin = never_finishes();
    let idle = json!({ "idle_timeout": "0.5s" });
    let proxy = Proxy::start(Chain::to(&origin).inner(idle.clone()).outer(idle));
    let mut client = proxy.connect("outer");
    client.write_all(b"hi").unwrap();
    proxy.admin().wait_stat("tcp.inner.downstream_cx_rx_bytes_total", 2);
    drop(client);
    assert_eq!(origin.wait(1), ["2"]);
    assert!(!proxy.admin().open().is_empty(), "half-closed is not closed");
    proxy.admin().wait_idle();
}

#[test]
fn client_that_leaves_before_the_upstream_is_connected_frees_everything() {
    // Retries keep the inner proxy connecting while the client goes.
    let busy = json!({ "max_connect_attempts": 20, "backoff_options": { "base_interval": "0.05s", "max_interval": "0.05s" } });
    let proxy = Proxy::start(Chain::to_port(dead_port()).inner(busy));
    let client = proxy.connect("outer");
    eventually("the inner proxy tries", || proxy.admin().stat("cluster.up.upstream_cx_connect_fail") > 1);
    client::reset(client);
    let [outer, inner] = logs(proxy);
    assert_eq!((outer.len(), inner.len()), (1, 1));
}

#[test]
fn cluster_without_a_host_says_so() {
    let proxy = Proxy::start(Chain::to_port(1).up(json!({ "load_assignment": { "cluster_name": "up" } })));
    read_all(&mut proxy.connect("outer"));
    assert_stats(&proxy, &[("cluster.up.upstream_cx_none_healthy", 1)]);
    assert_eq!(logs(proxy)[1], ["UH - rx=0 tx=0 attempts=0"]);
}

#[test]
fn others_go_on_while_one_fails() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin));
    let mut steady = proxy.connect("outer");
    for round in 0..20 {
        let mut client = connect(proxy.listener("outer"));
        client.write_all(b"never read").unwrap();
        client::reset(client);
        let text = format!("round {round}");
        assert_eq!(ask(&mut steady, &text), text);
    }
}
