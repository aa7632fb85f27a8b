//! What a control plane does wrong, and what goes on meanwhile: the last good configuration.

#![expect(clippy::expect_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use underpass_tests::{
    Proxy, Start, With,
    config::{bootstrap, cluster, internal, listener, tcp_proxy},
    control_plane::{
        ControlPlane, aggregated, all_aggregated, api, control_plane_cluster, heard, is_installed, saying,
        steered,
    },
    eventually,
    origin::dead_port,
    resources::{
        CLUSTER, ENDPOINTS, LISTENER, ROUTES, eds_cluster, endpoints, hcm_with_routes_from, routes_to,
    },
};

const FORMS: [&str; 2] = ["GRPC", "DELTA_GRPC"];

/// The listener in front of it.
fn outer() -> Value {
    listener("outer", [tcp_proxy("outer", "to_inner")])
}

fn to_inner() -> Value {
    cluster("to_inner", [internal("inner")])
}

/// A control plane that has a chain of two listeners, and a proxy that has taken it over.
fn started(api_type: &str) -> (ControlPlane, Proxy) {
    let mut plane = ControlPlane::start();
    plane.set(CLUSTER, "c1", &[to_inner()]);
    plane.set(LISTENER, "l1", &[outer(), saying("one")]);
    let proxy = Start::new(steered(&plane, all_aggregated(api_type))).start();
    plane.answer_to("1.1");
    plane.answer_to("1.2");
    (plane, proxy)
}

fn why(nack: &Value) -> &str {
    nack["error_detail"]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_control_plane_that_is_not_there_holds_the_start_up_no_longer_than_the_first_answer_may_take() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let port = dead_port();
        let soon = aggregated().with(json!({ "initial_fetch_timeout": "0.3s" }));
        let resources = json!({ "ads_config": api(api_type), "lds_config": soon, "cds_config": soon });
        let config = bootstrap([outer()], [control_plane_cluster(port)]);
        let config =
            config.with(json!({ "node": { "id": "a", "cluster": "b" }, "dynamic_resources": resources }));
        let proxy = Start::new(config).start();
        assert_eq!(proxy.admin().stat("cluster_manager.cds.init_fetch_timeout"), 1);
        assert_eq!(proxy.admin().stat("listener_manager.lds.init_fetch_timeout"), 1);
        assert!(proxy.admin().stat("cluster_manager.cds.update_failure") > 0, "it goes on trying");
        assert_eq!(heard(&proxy), "");
        let mut plane = ControlPlane::start_at(port);
        plane.set(CLUSTER, "c1", &[to_inner()]);
        plane.set(LISTENER, "l1", &[saying("late")]);
        eventually("what came late counts", || heard(&proxy) == "late");
    }
}

#[test]
fn what_a_slow_control_plane_has_serves_when_all_of_it_is_there() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let mut plane = ControlPlane::start();
        plane.command(&json!({ "delay": 0.5 }));
        plane.set(CLUSTER, "c1", &[eds_cluster("to_inner", &aggregated())]);
        plane.set(ENDPOINTS, "e1", &[endpoints("to_inner", &internal("inner"))]);
        let routes = hcm_with_routes_from("routes", &aggregated());
        plane.set(LISTENER, "l1", &[outer(), saying("one"), listener("http", [routes])]);
        plane.set(ROUTES, "r1", &[routes_to("routes", "to_inner")]);
        let began = Instant::now();
        let proxy = Start::new(steered(&plane, all_aggregated(api_type))).start();
        // Clusters, endpoints, listeners and routes wait for each other.
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(heard(&proxy), "one");

        // A new version of the cluster, with other endpoints: until they are there, the old one serves.
        let changed = eds_cluster("to_inner", &aggregated());
        let source = json!({ "eds_config": aggregated(), "service_name": "second" });
        plane.command(&json!({ "delay": 1.0 }));
        plane.set(CLUSTER, "c2", &[changed.with(json!({ "eds_cluster_config": source }))]);
        eventually("the new version waits", || proxy.admin().stat("cluster_manager.warming_clusters") == 1);
        assert_eq!(heard(&proxy), "one");
        plane.set(ENDPOINTS, "e2", &[endpoints("second", &internal("inner"))]);
        eventually("the new version serves", || proxy.admin().stat("cluster_manager.warming_clusters") == 0);
        assert_eq!(heard(&proxy), "one");
    }
}

#[test]
fn endpoints_and_routes_that_are_here_need_not_be_sent_again_for_a_changed_cluster_and_listener() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let mut plane = ControlPlane::start();
        let http = || listener("outer", [hcm_with_routes_from("routes", &aggregated())]);
        plane.set(CLUSTER, "c1", &[eds_cluster("to_inner", &aggregated())]);
        plane.set(ENDPOINTS, "e1", &[endpoints("to_inner", &internal("inner"))]);
        plane.set(LISTENER, "l1", &[http(), saying("one")]);
        plane.set(ROUTES, "r1", &[routes_to("routes", "to_inner")]);
        let proxy = Start::new(steered(&plane, all_aggregated(api_type))).start();
        assert_eq!(heard(&proxy), "one");
        // The control plane has no reason to say anything of endpoints and routes.
        let changed = eds_cluster("to_inner", &aggregated()).with(json!({ "connect_timeout": "2s" }));
        plane.set(CLUSTER, "c2", &[changed]);
        let listener = http().with(json!({ "per_connection_buffer_limit_bytes": 10_000 }));
        plane.set(LISTENER, "l2", &[listener, saying("one")]);
        let done = |name| proxy.admin().stat(name) == 0;
        proxy.admin().wait_stat("cluster_manager.cluster_modified", 1);
        proxy.admin().wait_stat("listener_manager.listener_modified", 1);
        let began = Instant::now();
        eventually("both serve", || {
            done("cluster_manager.warming_clusters") && done("listener_manager.total_listeners_warming")
        });
        assert!(began.elapsed() < Duration::from_secs(10), "long before the time for first answers is up");
        assert_eq!(proxy.admin().stat("cluster.to_inner.membership_total"), 1);
        assert_eq!(heard(&proxy), "one");
    }
}

#[test]
fn a_response_with_one_resource_that_cannot_be_read_is_refused_as_a_whole() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let (mut plane, proxy) = started(api_type);
        let mut refused = |version: &str, nonce: &str, bad: &[Value]| {
            let resources: Vec<_> = [outer(), saying("two")].into_iter().chain(bad.iter().cloned()).collect();
            plane.set(LISTENER, version, &resources);
            why(&plane.answer_to(nonce)).to_owned()
        };
        // Bytes that are no protobuf: all such resources are named.
        let garbage = |name: &str| json!({ "name": name, "$bytes": "/////w==" });
        let said = refused("l2", "1.3", &[garbage("x"), garbage("y")]);
        let names =
            if api_type == "GRPC" { ["resources[2]", "resources[3]"] } else { ["Listener/x", "Listener/y"] };
        assert!(
            names.iter().all(|name| said.contains(&format!("{name}: envoy.config.listener.v3.Listener: "))),
            "{said}"
        );
        // Another type, one that nobody knows.
        let said = refused("l3", "1.4", &[to_inner().with(json!({ "$type": CLUSTER }))]);
        assert!(said.contains("Listener/to_inner") && said.contains(CLUSTER), "{said}");
        let said = refused("l4", "1.5", &[json!({ "name": "z", "$type": "foo.Bar", "$bytes": "" })]);
        assert!(said.contains("foo.Bar does not match the type"), "{said}");
        // Field 1023 in a filter of a filter chain.
        let said =
            refused("l5", "1.6", &[json!({ "name": "strange", "$bytes": "CgdzdHJhbmdlGgUaA/g/AQ==" })]);
        let place = "Listener/strange: filter_chains[0].filters[0]: envoy.config.listener.v3.Filter: it has no field of number 1023";
        assert!(said.contains(place), "{said}");
        eventually("all are counted", || proxy.admin().stat("listener_manager.lds.update_rejected") == 4);
        assert_eq!(heard(&proxy), "one");
    }
}

#[test]
fn of_two_resources_with_one_name_the_second_is_refused() {
    if !is_installed() {
        return;
    }
    let (mut plane, proxy) = started("GRPC");
    plane.set(LISTENER, "l2", &[outer(), saying("two"), saying("three")]);
    let nack = plane.answer_to("1.3");
    assert!(why(&nack).contains("duplicate listener inner found"), "{nack}");
    plane.set(CLUSTER, "c2", &[to_inner(), to_inner()]);
    let nack = plane.answer_to("1.4");
    assert!(why(&nack).contains("duplicate cluster to_inner found"), "{nack}");
    assert_eq!(heard(&proxy), "two", "as with Envoy, what is right of it counts");
    let (mut plane, proxy) = started("DELTA_GRPC");
    plane.set(LISTENER, "l2", &[outer(), saying("two"), saying("three")]);
    let nack = plane.answer_to("1.3");
    assert!(why(&nack).contains("duplicate name inner found among added/updated resources"), "{nack}");
    assert_eq!(heard(&proxy), "one", "a delta is refused as a whole");
}

#[test]
fn what_nobody_asked_for_is_passed_over() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let (mut plane, proxy) = started(api_type);
        for url in [
            "type.googleapis.com/foo.Bar",
            "",
            "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        ] {
            plane.command(&json!({ "push": { "type_url": url, "nonce": "unasked" } }));
        }
        plane.set(LISTENER, "l2", &[outer(), saying("two")]);
        plane.answer_to("1.3");
        assert!(plane.history().iter().all(|event| event["message"]["response_nonce"] != "unasked"));
        assert_eq!(heard(&proxy), "two");
        assert!(proxy.log().contains("foo.Bar as it has no current subscribers"));
    }
}

/// A way to a control plane that can be cut after so many bytes.
struct Wire {
    port: u16,
    /// How many bytes the control plane may still say on what is open.
    left: Arc<AtomicU64>,
}

impl Wire {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let shared = Arc::clone(&left);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", port)).expect("the control plane listens");
                let (up, down) = (client.try_clone().expect("a clone"), server.try_clone().expect("a clone"));
                let shared = Arc::clone(&shared);
                thread::spawn(move || pump(up, server, &AtomicU64::new(u64::MAX)));
                thread::spawn(move || pump(down, client, &shared));
            }
        });
        Self { port: own, left }
    }
}

/// Carries bytes until there are no more to carry; then both ends are closed, and the next ones may be used again.
fn pump(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64) {
    let mut buffer = [0; 1000];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let allowed = left.load(Ordering::Relaxed);
        let count = usize::try_from(allowed).unwrap_or(usize::MAX).min(read);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if allowed != u64::MAX {
            left.store(allowed - count as u64, Ordering::Relaxed);
        }
        if count < read {
            left.store(u64::MAX, Ordering::Relaxed);
            break;
        }
    }
    // Whoever was first has done so already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn half_a_response_counts_for_nothing() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let mut plane = ControlPlane::start();
        plane.set(CLUSTER, "c1", &[to_inner()]);
        plane.set(LISTENER, "l1", &[outer(), saying("one")]);
        let wire = Wire::to(plane.port());
        let config = bootstrap([], [control_plane_cluster(wire.port)]);
        let resources = all_aggregated(api_type);
        let config =
            config.with(json!({ "node": { "id": "a", "cluster": "b" }, "dynamic_resources": resources }));
        let proxy = Start::new(config).start();
        assert_eq!(heard(&proxy), "one");
        // The last resource is whole long before the message is.
        wire.left.store(20_000, Ordering::Relaxed);
        let large = cluster("large", [internal("inner")]).with(json!({ "$padding": 100_000 }));
        plane.set(CLUSTER, "c2", &[large, to_inner()]);
        plane.wait("closed");
        assert_eq!(heard(&proxy), "one");
        let again = plane.answer_to("2.1");
        assert_eq!(again["error_detail"], Value::Null, "{again}");
        eventually("the whole counts", || proxy.admin().stat("cluster_manager.cluster_added") == 3);
        assert_eq!(proxy.admin().stat("cluster_manager.cds.update_rejected"), 0);
    }
}

#[test]
fn what_is_no_response_ends_the_stream_and_only_that() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let (mut plane, proxy) = started(api_type);
        plane.command(&json!({ "push_bytes": "////" }));
        plane.wait("closed");
        plane.wait("stream");
        plane.answer_to("2.2");
        assert_eq!(heard(&proxy), "one");
        assert!(proxy.log().contains("the message is no discovery response"), "{}", proxy.log());
        plane.set(LISTENER, "l2", &[outer(), saying("two")]);
        plane.answer_to("2.3");
        assert_eq!(heard(&proxy), "two");
    }
}

#[test]
fn a_response_of_twelve_megabytes_is_taken_unless_its_size_is_limited() {
    if !is_installed() {
        return;
    }
    let large = || cluster("large", [internal("inner")]).with(json!({ "$padding": 12_000_000 }));
    for api_type in FORMS {
        let (mut plane, proxy) = started(api_type);
        plane.set(CLUSTER, "c2", &[to_inner(), large()]);
        assert_eq!(plane.answer_to("1.3")["error_detail"], Value::Null);
        assert_eq!(proxy.admin().stat("cluster_manager.cluster_added"), 3);
        assert_eq!(heard(&proxy), "one");
    }
    let mut plane = ControlPlane::start();
    plane.set(CLUSTER, "c1", &[to_inner()]);
    plane.set(LISTENER, "l1", &[outer(), saying("one")]);
    let mut resources = all_aggregated("GRPC");
    resources["ads_config"]["grpc_services"][0]["envoy_grpc"]["max_receive_message_length"] =
        json!(1_000_000);
    let proxy = Start::new(steered(&plane, resources)).start();
    plane.answer_to("1.2");
    plane.set(CLUSTER, "c2", &[to_inner(), large()]);
    plane.wait("closed");
    assert_eq!(heard(&proxy), "one");
    eventually("the reason is told", || proxy.log().contains("more than the 1000000 that may be received"));
    plane.set(CLUSTER, "c3", &[to_inner()]);
    eventually("it goes on", || proxy.admin().stat("control_plane.connected_state") == 1);
}

#[test]
fn a_control_plane_that_sends_without_end_fills_no_memory() {
    if !is_installed() {
        return;
    }
    for (api_type, deaf) in [("GRPC", false), ("GRPC", true), ("DELTA_GRPC", true)] {
        let mut plane = ControlPlane::start();
        plane.set(CLUSTER, "c1", &[to_inner()]);
        let mut resources = all_aggregated(api_type);
        // Large requests, so that it shows if they pile up.
        resources["ads_config"]["set_node_on_first_message_only"] = json!(false);
        let config = steered(&plane, resources);
        let mut config = config.with(json!({ "static_resources": {
            "listeners": [outer(), saying("one")], "clusters": [control_plane_cluster(plane.port())] } }));
        config["dynamic_resources"].as_object_mut().expect("a message").remove("lds_config");
        plane.command(&json!({ "deaf": deaf }));
        let proxy = Start::new(config).start();
        let updates = || proxy.admin().stat("cluster_manager.cds.update_success");
        let before = proxy.memory();
        plane.command(&json!({ "flood": CLUSTER, "name": "to_inner" }));
        if deaf {
            // Answers that are not read are not made without end: after a while nothing more is read, either.
            eventually("nothing is read any more", || {
                let count = updates();
                thread::park_timeout(Duration::from_millis(300));
                count > 100 && updates() == count
            });
        } else {
            eventually("a thousand updates", || updates() > 1000);
        }
        assert_eq!(heard(&proxy), "one");
        let grown = proxy.memory().saturating_sub(before);
        assert!(grown < 100 << 20, "{grown} bytes more");
    }
}

#[test]
fn a_resource_goes_when_its_time_is_up_unless_a_heartbeat_comes() {
    if !is_installed() {
        return;
    }
    for api_type in FORMS {
        let mut plane = ControlPlane::start();
        let other = cluster("other", [internal("inner")]).with(json!({ "$ttl": "1s" }));
        plane.set(CLUSTER, "c1", &[to_inner().with(json!({ "$ttl": "15s" })), other]);
        plane.set(LISTENER, "l1", &[outer(), saying("one")]);
        let proxy = Start::new(steered(&plane, all_aggregated(api_type))).start();
        let clusters = || proxy.admin().stat("cluster_manager.active_clusters");
        assert_eq!(proxy.admin().stat("cluster_manager.cluster_added"), 3);
        eventually("the other one goes", || clusters() == 2);
        assert_eq!(heard(&proxy), "one", "this one has more time");
        let began = Instant::now();
        let beat = json!({ "heartbeat": CLUSTER, "name": "to_inner", "ttl": "3s" });
        while began.elapsed() < Duration::from_secs(4) {
            plane.command(&beat);
            thread::park_timeout(Duration::from_millis(200));
        }
        assert_eq!((clusters(), heard(&proxy)), (2, "one".to_owned()), "heartbeats keep it");
        eventually("without heartbeats it goes", || clusters() == 1);
        eventually("for workers, too", || heard(&proxy).is_empty());
        plane.set(CLUSTER, "c2", &[to_inner()]);
        eventually("it can come again", || heard(&proxy) == "one");
    }
}

#[test]
fn who_asks_is_said_in_each_request_unless_once_is_enough() {
    if !is_installed() {
        return;
    }
    for (api_type, once) in [("GRPC", true), ("GRPC", false), ("DELTA_GRPC", false)] {
        let mut plane = ControlPlane::start();
        plane.set(CLUSTER, "c1", &[to_inner()]);
        plane.set(LISTENER, "l1", &[outer(), saying("one")]);
        let mut resources = all_aggregated(api_type);
        resources["ads_config"]["set_node_on_first_message_only"] = json!(once);
        let _proxy = Start::new(steered(&plane, resources)).start();
        plane.answer_to("1.1");
        plane.answer_to("1.2");
        let requests = plane.history().iter().filter(|event| event.get("request").is_some());
        let said: Vec<_> = requests.map(|event| event["message"].get("node").is_some()).collect();
        assert_eq!(said, [true, !once, !once, !once]);
    }
}
