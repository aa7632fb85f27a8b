//! One script of a control plane, played to this proxy and to the real Envoy: what both ask for and answer, in which order, and
//! what they count.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use underpass_tests::{
    Proxy, Start, With,
    binary::same_as_envoy,
    config::{internal, listener, tcp_proxy},
    control_plane::{ControlPlane, aggregated, all_aggregated, is_installed, own_stream, saying, steered},
    eventually,
    http_client::get,
    resources::{
        CLUSTER, ENDPOINTS, LISTENER, ROUTES, eds_cluster, endpoints, hcm_with_routes_from, routes_saying,
        routes_to,
    },
};

/// What a control plane and an operator see of a proxy.
#[derive(Debug, PartialEq)]
struct Seen {
    /// The methods of the streams, and the types in the order in which each stream asks for them first.
    subscribed: Vec<String>,
    /// By method, type and stream: all requests.
    requests: BTreeMap<String, Vec<String>>,
    stats: BTreeMap<String, u64>,
}

fn see(plane: &ControlPlane, proxy: &Proxy) -> Seen {
    let mut methods: BTreeMap<u64, String> = BTreeMap::new();
    let (mut subscribed, mut requests) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    let mut streams_of = BTreeMap::<String, Vec<u64>>::new();
    for event in plane.history() {
        if let (Some(stream), Some(method)) = (event["stream"].as_u64(), event["method"].as_str()) {
            methods.insert(stream, method.to_owned());
        }
        let Some(stream) = event["request"].as_u64() else { continue };
        let message = &event["message"];
        let url = message["type_url"].as_str().unwrap_or_default();
        let kind = url.rsplit('.').next().unwrap_or_default();
        let method = &methods[&stream];
        // Two streams of one method are told apart by what is asked for first.
        let about = format!("{method} {kind}");
        let streams = streams_of.entry(about.clone()).or_default();
        if !streams.contains(&stream) {
            streams.push(stream);
            subscribed.push(about.clone());
        }
        let own = method != "StreamAggregatedResources" && method != "DeltaAggregatedResources";
        let names =
            if own && kind == "ClusterLoadAssignment" { first_names(plane, stream) } else { String::new() };
        requests.entry(format!("{about} {names}")).or_default().push(said(message));
    }
    if methods.len() > 2 {
        // Streams of their own are opened side by side.
        subscribed.sort();
    }
    let is_wanted = |name: &str| {
        let counted =
            name.contains("control_plane.") || name.contains(".update_") || name.contains("init_fetch");
        let volatile = name.contains("time") && !name.contains("timeout") || name.contains("duration");
        counted && !volatile && !name.starts_with("cluster.control_plane.")
    };
    let stats = proxy.admin().stats().into_iter().filter(|(name, _)| is_wanted(name)).collect();
    Seen { subscribed, requests, stats }
}

/// The names that a stream asked for first.
fn first_names(plane: &ControlPlane, stream: u64) -> String {
    let first = plane.history().iter().find(|event| event["request"] == stream);
    first
        .map(|event| {
            names(&event["message"], "resource_names") + &names(&event["message"], "resource_names_subscribe")
        })
        .unwrap_or_default()
}

/// A request in one line. The words of a NACK are each program's own.
fn said(message: &Value) -> String {
    let mut said = Vec::new();
    for field in ["resource_names", "resource_names_subscribe", "resource_names_unsubscribe"] {
        let names = names(message, field);
        if !names.is_empty() {
            said.push(format!("{field} {names}"));
        }
    }
    if message.get("initial_resource_versions").is_some() {
        said.push(format!("has {}", message["initial_resource_versions"]));
    }
    if let Some(version) = message["version_info"].as_str() {
        said.push(format!("version {version}"));
    }
    // A nonce is that of a stream and a number on it.
    if let Some((_, nonce)) = message["response_nonce"].as_str().and_then(|nonce| nonce.split_once('.')) {
        let verdict = if message.get("error_detail").is_some() { "NACK" } else { "ACK" };
        said.push(format!("{verdict} {nonce}"));
    }
    if message.get("node").is_some() {
        said.push("node".to_owned());
    }
    said.join(" ")
}

fn names(message: &Value, field: &str) -> String {
    let names = message[field].as_array().into_iter().flatten();
    let mut names: Vec<_> = names.filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.join(",")
}

/// Clusters, endpoints, listeners and routes come, change, are wrong, and come again on a new stream.
fn a_day(binary: &Path, api_type: &str) -> Seen {
    let ads = aggregated();
    let http = |routes: &str| listener("entry", [hcm_with_routes_from(routes, &ads)]);
    let service = eds_cluster("two", &ads)
        .with(json!({ "eds_cluster_config": { "eds_config": ads, "service_name": "service" } }));
    let to = |cluster: &str, listener: &str| endpoints(cluster, &internal(listener));
    let mut plane = ControlPlane::start();
    plane.set(CLUSTER, "c1", &[eds_cluster("one", &ads), service.clone()]);
    plane.set(ENDPOINTS, "e1", &[to("one", "inner"), to("service", "inner")]);
    plane.set(LISTENER, "l1", &[http("first"), saying("one")]);
    plane.set(ROUTES, "r1", &[routes_to("first", "one")]);
    let proxy = Start::new(steered(&plane, all_aggregated(api_type))).binary(binary).start();
    for response in ["1.1", "1.2", "1.3", "1.4"] {
        plane.answer_to(response);
    }
    // A cluster comes, another goes.
    plane.set(ENDPOINTS, "e2", &[to("one", "inner"), to("three", "inner")]);
    plane.answer_to("1.5");
    let (one, three) = (eds_cluster("one", &ads), eds_cluster("three", &ads));
    plane.set(CLUSTER, "c2", &[one.clone(), service, three.clone()]);
    plane.answer_to("1.6");
    plane.answer_to("1.7");
    plane.set(CLUSTER, "c3", &[one, three]);
    plane.answer_to("1.8");
    plane.wait_quiet();
    // A listener that makes no sense, and then one that needs other routes.
    plane.set(LISTENER, "l2", &[json!({ "name": "bad" }), http("first"), saying("one")]);
    assert_eq!(plane.answer_to("1.9")["error_detail"]["code"], 13);
    plane.set(LISTENER, "l3", &[http("second"), saying("one")]);
    plane.answer_to("1.10");
    if api_type == "GRPC" {
        plane.answer_to("1.11");
    }
    plane.set(ROUTES, "r2", &[routes_to("first", "one"), routes_to("second", "three")]);
    plane.answer_to("1.12");
    // Endpoints that make no sense, also for whoever asks again.
    let nonsense =
        json!({ "endpoint": { "address": { "socket_address": { "address": "x", "port_value": 1 } } } });
    plane.set(ENDPOINTS, "e3", &[endpoints("one", &nonsense), to("three", "inner")]);
    assert_eq!(plane.answer_to("1.13")["error_detail"]["code"], 13);
    plane.command(&json!({ "close": 14 }));
    for response in ["2.1", "2.2", "2.3", "2.4"] {
        plane.answer_to(response);
    }
    plane.set(CLUSTER, "c4", &[]);
    plane.answer_to("2.5");
    plane.wait_quiet();
    see(&plane, &proxy)
}

#[test]
fn a_day_of_state_of_the_world_is_as_with_envoy() {
    if !is_installed() {
        return;
    }
    let seen = same_as_envoy(|binary| a_day(binary, "GRPC"));
    let order = ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"];
    let order = order.map(|kind| format!("StreamAggregatedResources {kind}"));
    assert_eq!(seen.subscribed, [order.clone(), order].concat());
}

#[test]
fn a_day_of_deltas_is_as_with_envoy() {
    if !is_installed() {
        return;
    }
    same_as_envoy(|binary| a_day(binary, "DELTA_GRPC"));
}

/// The same with a stream for each subscription.
fn a_day_of_many_streams(binary: &Path, api_type: &str) -> Seen {
    let own = own_stream(api_type);
    let mut plane = ControlPlane::start();
    plane.set(CLUSTER, "c1", &[eds_cluster("one", &own), eds_cluster("two", &own)]);
    plane.set(ENDPOINTS, "e1", &[endpoints("one", &internal("inner")), endpoints("two", &internal("inner"))]);
    let entries = [
        listener("http", [hcm_with_routes_from("routes", &own)]),
        listener("tcp", [tcp_proxy("tcp", "two")]),
        saying("one"),
    ];
    plane.set(LISTENER, "l1", &entries);
    plane.set(ROUTES, "r1", &[routes_saying("routes", "first")]);
    let resources = json!({ "lds_config": own, "cds_config": own });
    let proxy = Start::new(steered(&plane, resources)).binary(binary).start();
    assert_eq!(get(proxy.listener("http"), "/").text(), "first");
    plane.set(ROUTES, "r2", &[routes_saying("routes", "second")]);
    eventually("other routes", || get(proxy.listener("http"), "/").text() == "second");
    plane.set(LISTENER, "l2", &entries[1..]);
    proxy.admin().wait_stat("listener_manager.listener_removed", 1);
    plane.set(CLUSTER, "c2", &[eds_cluster("two", &own)]);
    proxy.admin().wait_stat("cluster_manager.cluster_removed", 1);
    plane.wait_quiet();
    plane.command(&json!({ "close": 14 }));
    proxy.admin().wait_stat("cluster_manager.cds.update_failure", 1);
    for _ in 0..3 {
        plane.wait("stream");
    }
    plane.wait_quiet();
    see(&plane, &proxy)
}

#[test]
fn streams_of_their_own_are_as_with_envoy() {
    if !is_installed() {
        return;
    }
    let seen = same_as_envoy(|binary| a_day_of_many_streams(binary, "GRPC"));
    assert!(seen.requests.contains_key("StreamEndpoints ClusterLoadAssignment two"), "{seen:?}");
    assert_eq!(seen.stats["listener_manager.lds.control_plane.connected_state"], 1);
}

#[test]
fn streams_of_deltas_of_their_own_are_as_with_envoy() {
    if !is_installed() {
        return;
    }
    let seen = same_as_envoy(|binary| a_day_of_many_streams(binary, "DELTA_GRPC"));
    assert!(seen.requests.contains_key("DeltaListeners Listener "), "{seen:?}");
}
