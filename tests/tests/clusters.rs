//! Which host of a cluster a connection gets, and how it gets there.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpStream},
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, With,
    client::{connect, connect_from, read_all},
    config::{address, bootstrap, cluster, endpoint, listener, metadata, port, tcp_proxy},
    origin::dead_port,
};

/// Origins that say their names, so that a client knows which one it got.
struct Hosts(Vec<Origin>);

impl Hosts {
    fn start(names: &[&'static str]) -> Self {
        Self(names.iter().map(|name| Origin::speak_first(name)).collect())
    }

    /// Endpoints at these origins.
    fn endpoints(&self) -> impl Iterator<Item = Value> + Clone {
        self.0.iter().map(|origin| port(origin.port()))
    }
}

/// A proxy from the listener `entry` to the cluster `up`.
fn proxy_to(up: Value) -> Proxy {
    Proxy::start(bootstrap([listener("entry", [tcp_proxy("entry", "up")])], [up]))
}

/// Which origins that many connections got, and how often.
#[track_caller]
fn visit(proxy: &Proxy, count: usize) -> BTreeMap<String, usize> {
    let address = proxy.listener("entry");
    count_by((0..count).map(|_| heard(connect(address))))
}

fn count_by(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

#[track_caller]
fn heard(mut stream: TcpStream) -> String {
    read_all(&mut stream).0
}

#[test]
fn round_robin_takes_turns() {
    let hosts = Hosts::start(&["a", "b", "c"]);
    let counts = visit(&proxy_to(cluster("up", hosts.endpoints())), 30);
    assert_eq!(counts, [("a".into(), 10), ("b".into(), 10), ("c".into(), 10)].into());
}

#[test]
fn every_policy_uses_every_host() {
    let hosts = Hosts::start(&["a", "b"]);
    for policy in ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"] {
        // Without a hash policy, hashing balancers choose at random.
        let proxy = proxy_to(cluster("up", hosts.endpoints()).with(json!({ "lb_policy": policy })));
        let counts = visit(&proxy, 60);
        assert_eq!(counts.len(), 2, "{policy}: {counts:?}");
        assert_eq!(counts.values().sum::<usize>(), 60, "{policy}: {counts:?}");
    }
}

#[test]
fn weights_divide_the_connections() {
    let hosts = Hosts::start(&["a", "b"]);
    let weighted = hosts
        .endpoints()
        .zip([3, 1])
        .map(|(host, weight)| host.with(json!({ "load_balancing_weight": weight })));
    for (policy, tolerance) in [("ROUND_ROBIN", 1), ("LEAST_REQUEST", 1)] {
        let up = cluster("up", weighted.clone()).with(json!({ "lb_policy": policy }));
        let counts = visit(&proxy_to(up), 80);
        assert!(counts["a"].abs_diff(60) <= tolerance, "{policy}: {counts:?}");
    }
}

#[test]
fn hashing_balancers_keep_a_client_at_its_host() {
    let hosts = Hosts::start(&["a", "b", "c", "d"]);
    let hashing = tcp_proxy("entry", "up").with(json!({ "hash_policy": [{ "source_ip": {} }] }));
    for policy in ["RING_HASH", "MAGLEV"] {
        let up = cluster("up", hosts.endpoints()).with(json!({ "lb_policy": policy }));
        let proxy = Proxy::start(bootstrap([listener("entry", [hashing.clone()])], [up]));
        let address = proxy.listener("entry");
        let mut used = BTreeMap::new();
        for source in 1..=30 {
            let source = Ipv4Addr::new(127, 0, 0, source);
            let visits = count_by((0..3).map(|_| heard(connect_from(source, address))));
            assert_eq!(visits.len(), 1, "{policy}: {source} got {visits:?}");
            used.extend(visits);
        }
        assert!(used.len() > 2, "{policy}: {used:?}");
    }
}

#[test]
fn weighted_clusters_share_the_connections() {
    let (one, other) = (Hosts::start(&["one"]), Hosts::start(&["other"]));
    let mut weighted = tcp_proxy("entry", "none").with(json!({ "weighted_clusters": {
        "clusters": [{ "name": "one", "weight": 1 }, { "name": "other", "weight": 1 }]
    }}));
    weighted["typed_config"].as_object_mut().unwrap().remove("cluster");
    let clusters = [cluster("one", one.endpoints()), cluster("other", other.endpoints())];
    let counts = visit(&Proxy::start(bootstrap([listener("entry", [weighted])], clusters)), 60);
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(counts["one"] > 10 && counts["other"] > 10, "{counts:?}");
}

#[test]
fn names_are_resolved() {
    let origin = Origin::speak_first("resolved");
    for kind in ["STRICT_DNS", "LOGICAL_DNS"] {
        let up = cluster("up", [endpoint(address("localhost", origin.port()))])
            .with(json!({ "type": kind, "dns_lookup_family": "V4_ONLY" }));
        let proxy = proxy_to(up);
        proxy.admin().wait_stat("cluster.up.membership_healthy", 1);
        assert_eq!(visit(&proxy, 3), [("resolved".into(), 3)].into(), "{kind}");
        let stats = proxy.admin().stats();
        assert!(stats["cluster.up.update_success"] >= 1, "{kind}");
        let host = format!("up::127.0.0.1:{}::hostname::localhost\n", origin.port());
        let clusters = proxy.admin().get("/clusters");
        assert!(clusters.contains(&host), "{kind}: no {host} in\n{clusters}");
    }
}

#[test]
fn name_that_does_not_exist_leaves_the_cluster_empty() {
    let up = cluster("up", [endpoint(address("does-not-exist.invalid", 80))])
        .with(json!({ "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY" }));
    let proxy = proxy_to(up);
    assert_eq!(heard(proxy.connect("entry")), "");
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_none_healthy"), 1);
    assert_eq!(proxy.admin().stat("cluster.up.membership_total"), 0);
}

/// Endpoints by priority, each with the health that the configuration gives it.
fn priorities(hosts: &Hosts, health: &[(u32, &str)]) -> Value {
    let localities: Vec<_> = hosts
        .endpoints()
        .zip(health)
        .map(|(host, (priority, health))| {
            json!({ "priority": priority, "lb_endpoints": [host.with(json!({ "health_status": health }))] })
        })
        .collect();
    cluster("up", []).with(json!({ "load_assignment": { "cluster_name": "up", "endpoints": localities } }))
}

#[test]
fn lower_priorities_serve_while_the_higher_ones_are_unhealthy() {
    let hosts = Hosts::start(&["first", "second"]);
    let healthy = priorities(&hosts, &[(0, "HEALTHY"), (1, "HEALTHY")]);
    assert_eq!(visit(&proxy_to(healthy), 10), [("first".into(), 10)].into());
    let failed = proxy_to(priorities(&hosts, &[(0, "UNHEALTHY"), (1, "HEALTHY")]));
    assert_eq!(visit(&failed, 10), [("second".into(), 10)].into());
    assert_eq!(failed.admin().stat("cluster.up.membership_healthy"), 1);
    assert!(failed.admin().get("/clusters").contains("::health_flags::/failed_eds_health"), "the flag shows");
}

#[test]
fn unhealthy_hosts_are_left_out_until_too_few_are_left() {
    let hosts = Hosts::start(&["a", "b", "c"]);
    let one_out = priorities(&hosts, &[(0, "UNHEALTHY"), (0, "HEALTHY"), (0, "HEALTHY")]);
    let counts = visit(&proxy_to(one_out), 20);
    assert_eq!(counts, [("b".into(), 10), ("c".into(), 10)].into());

    // Below the threshold of 50 % all are used: better to try than to overload the rest.
    let two_out = priorities(&hosts, &[(0, "UNHEALTHY"), (0, "UNHEALTHY"), (0, "HEALTHY")]);
    let panic = proxy_to(two_out.clone());
    assert_eq!(visit(&panic, 30).len(), 3);
    assert_eq!(panic.admin().stat("cluster.up.lb_healthy_panic"), 30);

    let calm =
        proxy_to(two_out.with(json!({ "common_lb_config": { "healthy_panic_threshold": { "value": 0 } } })));
    assert_eq!(visit(&calm, 10), [("c".into(), 10)].into());
    assert_eq!(calm.admin().stat("cluster.up.lb_healthy_panic"), 0);
}

#[test]
fn cluster_of_unhealthy_hosts_without_panic_has_none() {
    let hosts = Hosts::start(&["a"]);
    let calm = json!({ "common_lb_config": { "healthy_panic_threshold": { "value": 0 } } });
    let proxy = proxy_to(priorities(&hosts, &[(0, "UNHEALTHY")]).with(calm));
    assert_eq!(heard(proxy.connect("entry")), "");
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_none_healthy"), 1);
}

#[test]
fn further_attempts_take_other_hosts() {
    let hosts = Hosts::start(&["alive"]);
    let up = cluster("up", hosts.endpoints().chain([port(dead_port())]));
    let patient = tcp_proxy("entry", "up").with(json!({ "max_connect_attempts": 3 }));
    let proxy = Proxy::start(bootstrap([listener("entry", [patient])], [up]));
    assert_eq!(visit(&proxy, 10), [("alive".into(), 10)].into());
    assert!(proxy.admin().stat("cluster.up.upstream_cx_connect_fail") >= 5);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_connect_attempts_exceeded"), 0);
}

#[test]
fn circuit_breaker_counts_the_connections_of_the_cluster() {
    let origin = Origin::echo();
    let breaker =
        json!({ "circuit_breakers": { "thresholds": [{ "max_connections": 2, "track_remaining": true }] } });
    let proxy = proxy_to(cluster("up", [port(origin.port())]).with(breaker));
    let mut clients = [proxy.connect("entry"), proxy.connect("entry")];
    for client in &mut clients {
        assert_eq!(underpass_tests::client::ask(client, "hello"), "hello");
    }
    assert_eq!(proxy.admin().stat("cluster.up.circuit_breakers.default.remaining_cx"), 0);
    assert_eq!(heard(proxy.connect("entry")), "");
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_overflow"), 1);
    drop(clients);
    proxy.admin().wait_idle();
    assert_eq!(proxy.admin().stat("cluster.up.circuit_breakers.default.remaining_cx"), 2);
    assert_eq!(underpass_tests::client::ask(&mut proxy.connect("entry"), "again"), "again");
}

#[test]
fn connections_come_from_the_address_that_the_configuration_binds() {
    let origin = Origin::start(|stream, record| {
        underpass_tests::origin::note(record, stream.peer_addr().unwrap().ip().to_string());
    });
    let bind =
        json!({ "upstream_bind_config": { "source_address": { "address": "127.0.0.3", "port_value": 0 } } });
    let proxy = proxy_to(cluster("up", [port(origin.port())]).with(bind));
    heard(proxy.connect("entry"));
    assert_eq!(origin.wait(1), ["127.0.0.3"]);
}

#[test]
fn connect_timeout_fails_the_attempt() {
    // A listener whose queue is full does not answer: SYN packets are dropped.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let target = full.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(target).unwrap();
    let up = cluster("up", [port(target.port())]).with(json!({ "connect_timeout": "0.3s" }));
    let log =
        underpass_tests::config::log_to("entry.log", "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%");
    let proxy = Proxy::start(bootstrap([listener("entry", [tcp_proxy("entry", "up").with(log)])], [up]));
    assert_eq!(heard(proxy.connect("entry")), "");
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_connect_timeout"), 1);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_connect_fail"), 1);
    assert!(proxy.lines("entry.log", 1)[0].starts_with("UF,URX "), "{:?}", proxy.lines("entry.log", 1));
}

#[test]
fn metadata_chooses_a_subset_of_the_hosts() {
    let hosts = Hosts::start(&["blue one", "blue two", "green"]);
    let colors = ["blue", "blue", "green"];
    let endpoints = hosts
        .endpoints()
        .zip(colors)
        .map(|(host, color)| host.with(metadata(json!({ "envoy.lb": { "color": color } }))));
    let up = cluster("up", endpoints).with(json!({ "lb_subset_config": {
        "fallback_policy": "NO_FALLBACK",
        "subset_selectors": [{ "keys": ["color"] }],
    }}));
    let entry = |color: &str| {
        let wanted = json!({ "metadata_match": { "filter_metadata": { "envoy.lb": { "color": color } } } });
        listener("entry", [tcp_proxy("entry", "up").with(wanted)])
    };
    let visit_color = |color: &str| {
        let proxy = Proxy::start(bootstrap([entry(color)], [up.clone()]));
        let counts = visit(&proxy, 10);
        (counts, proxy.admin().stat("cluster.up.lb_subsets_selected"))
    };
    assert_eq!(visit_color("blue"), ([("blue one".into(), 5), ("blue two".into(), 5)].into(), 10));
    assert_eq!(visit_color("green"), ([("green".into(), 10)].into(), 10));
    // No host is of that colour, and there is no fallback.
    assert_eq!(visit_color("red"), ([(String::new(), 10)].into(), 0));
}
