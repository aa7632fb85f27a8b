//! A control plane steers a chain of internal listeners over gRPC; and what becomes of it when the control plane fails.

use serde_json::{Value, json};
use underpass_tests::{
    Proxy, Start, With,
    config::{bootstrap, cluster, internal, listener, tcp_proxy},
    control_plane::{
        ControlPlane, ads, aggregated, api, control_plane_cluster, heard, is_installed, own_stream, saying,
    },
    eventually,
    http_client::get,
    resources::{ENDPOINTS, LISTENER, ROUTES, eds_cluster, endpoints, hcm_with_routes_from, routes_saying},
};

/// A chain whose outer listener is in the file; the inner one comes from the control plane.
fn steered(plane: &ControlPlane, api_type: &str) -> Proxy {
    let (control_plane, resources) = ads(plane.port(), api_type);
    let outer = listener("outer", [tcp_proxy("outer", "to_inner")]);
    let config = bootstrap([outer], [cluster("to_inner", [internal("inner")]), control_plane]);
    let node = json!({ "node": { "id": "me", "cluster": "us", "metadata": { "role": "edge" } } });
    let config = config.with(json!({ "dynamic_resources": resources })).with(node);
    Start::new(config).start()
}

#[test]
fn an_inner_listener_comes_changes_and_survives_a_bad_update() {
    if !is_installed() {
        return;
    }
    for api_type in ["GRPC", "DELTA_GRPC"] {
        let mut plane = ControlPlane::start();
        plane.set(LISTENER, "1", &[saying("one")]);
        let proxy = steered(&plane, api_type);
        let first = plane.request(LISTENER);
        assert_eq!(first["node"]["id"], "me");
        assert_eq!(first["node"]["metadata"]["role"], "edge");
        let ack = plane.request(LISTENER);
        assert_eq!((&ack["response_nonce"], &ack["error_detail"]), (&json!("1.1"), &Value::Null));
        assert_eq!(ack["node"], Value::Null, "it stands in the first request only");
        assert_eq!(heard(&proxy), "one");
        assert_eq!(proxy.admin().stat("control_plane.connected_state"), 1);

        plane.set(LISTENER, "2", &[saying("two")]);
        assert_eq!(plane.request(LISTENER)["response_nonce"], "1.2");
        assert_eq!(heard(&proxy), "two");

        // An address that is no address.
        plane.set(LISTENER, "3", &[json!({ "name": "bad" }), saying("two")]);
        let nack = plane.request(LISTENER);
        let why = nack["error_detail"]["message"].as_str().unwrap_or_default();
        assert!(why.contains("bad") && why.contains("address"), "{why}");
        assert_eq!(heard(&proxy), "two");
        eventually("the rejection is counted", || {
            proxy.admin().stat("listener_manager.lds.update_rejected") == 1
        });

        plane.set(LISTENER, "4", &[]);
        assert_eq!(plane.request(LISTENER)["error_detail"], Value::Null);
    }
}

#[test]
fn a_control_plane_that_goes_away_is_found_again_and_told_what_is_here() {
    if !is_installed() {
        return;
    }
    for (api_type, told) in [("GRPC", "version_info"), ("DELTA_GRPC", "initial_resource_versions")] {
        let mut plane = ControlPlane::start();
        plane.set(LISTENER, "1", &[saying("one")]);
        let proxy = steered(&plane, api_type);
        plane.request(LISTENER);
        plane.request(LISTENER);
        let port = plane.port();
        drop(plane);
        eventually("the stream is gone", || proxy.admin().stat("control_plane.connected_state") == 0);
        assert_eq!(heard(&proxy), "one", "the last good configuration stays");
        let mut plane = ControlPlane::start_at(port);
        plane.set(LISTENER, "0", &[saying("older")]);
        let again = plane.request(LISTENER);
        let expected = if told == "version_info" { json!("1") } else { json!({ "inner": "1" }) };
        assert_eq!(again[told], expected, "{again}");
        assert_eq!(again["response_nonce"], Value::Null, "nonces belong to a stream");
        eventually("an older version counts like any other", || heard(&proxy) == "older");
    }
}

#[test]
fn a_source_that_cannot_work_is_refused_with_its_place() {
    if !is_installed() {
        return;
    }
    let plane =
        "api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: plane}}]";
    let said = |sources: &str| {
        let config = format!(
            "node: {{id: a, cluster: b}}\nstatic_resources:\n  clusters:\n  - {{name: plane, type: STATIC, load_assignment: {{cluster_name: plane}}}}\n{sources}"
        );
        let output = Start::new(config).run();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().filter(|line| line.contains("error: ")).collect::<Vec<_>>().join("\n")
    };
    let lds = |source: &str| {
        said(&format!("dynamic_resources:\n  lds_config: {{api_config_source: {{{source}}}}}"))
    };
    let is = |text: &str, path: &str, why: &str| {
        let found = text.starts_with("config.yaml:6:") && text.contains(&format!("error: {path}: {why}"));
        assert!(found, "{text}");
    };
    let place = |field: &str| format!("dynamic_resources.lds_config.api_config_source.{field}");
    is(
        &lds(&plane.replace("name: plane", "name: nope")),
        &place("grpc_services[0].envoy_grpc.cluster_name"),
        "there is no cluster 'nope' in the bootstrap. Control planes are asked over clusters that stand there; they are: plane",
    );
    is(&lds(&plane.replace("GRPC", "AGGREGATED_GRPC")), &place("api_type"), "is for collections");
    is(&lds(&plane.replace("V3", "V2")), &place("transport_api_version"), "version 2 has been removed");
    is(&lds(&format!("{plane}, cluster_names: [plane]")), &place("cluster_names"), "is for REST");
    let ads = "dynamic_resources.lds_config.ads";
    is(&said("dynamic_resources:\n  lds_config: {ads: {}}"), ads, "there is no `ads_config`");
    // What is wrong with ads_config is said once, whoever uses it.
    let nope = plane.replace("name: plane", "name: nope");
    let text = said(&format!("dynamic_resources:\n  ads_config: {{{nope}}}\n  lds_config: {{ads: {{}}}}"));
    assert_eq!(text.matches("there is no cluster 'nope'").count(), 1, "{text}");
    let found = plane.replace("name: plane", "name: found");
    let text = said(&format!(
        "  - {{name: found, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}\ndynamic_resources:\n  ads_config: {{{plane}}}\n  lds_config: {{api_config_source: {{{found}}}}}"
    ));
    assert!(text.contains("the endpoints of cluster 'found' come from a source themselves"), "{text}");
}

#[test]
fn who_asks_a_control_plane_must_have_a_name() {
    if !is_installed() {
        return;
    }
    let plane = ControlPlane::start();
    let (control_plane, resources) = ads(plane.port(), "GRPC");
    let config = bootstrap([], [control_plane]).with(json!({ "dynamic_resources": resources }));
    let output = Start::new(config).run();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = "dynamic_resources.ads_config: who asks a control plane must say who it is: set `id` and `cluster` in `node`";
    assert!(output.status.code() == Some(1) && text.contains(said), "{text}");
}

#[test]
fn clusters_and_listeners_of_the_file_may_have_endpoints_and_routes_from_the_control_plane() {
    if !is_installed() {
        return;
    }
    for api_type in ["GRPC", "DELTA_GRPC"] {
        for own in [false, true] {
            let source = if own { own_stream(api_type) } else { aggregated() };
            let mut plane = ControlPlane::start();
            plane.set(ENDPOINTS, "e1", &[endpoints("to_inner", &internal("inner"))]);
            plane.set(ROUTES, "r1", &[routes_saying("routes", "from the control plane")]);
            let listeners = [
                listener("outer", [tcp_proxy("outer", "to_inner")]),
                listener("http", [hcm_with_routes_from("routes", &source)]),
                saying("from the file"),
            ];
            let clusters = [control_plane_cluster(plane.port()), eds_cluster("to_inner", &source)];
            let node = json!({ "node": { "id": "me", "cluster": "us" } });
            let resources = json!({ "dynamic_resources": { "ads_config": api(api_type) } });
            let proxy = Start::new(bootstrap(listeners, clusters).with(node).with(resources)).start();
            assert_eq!(heard(&proxy), "from the file");
            assert_eq!(get(proxy.listener("http"), "/").text(), "from the control plane");
        }
    }
}
