//! A control plane steers a chain of internal listeners over gRPC; and what becomes of it when the control plane fails.

use std::{io::Read as _, net::TcpStream};

use serde_json::{Value, json};
use underpass_tests::{
    Proxy, Start, With, client,
    config::{bootstrap, cluster, extension, internal, internal_listener, listener, tcp_proxy},
    control_plane::{ControlPlane, LISTENER, ads},
    eventually,
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

/// An inner listener that says a text and closes.
fn saying(text: &str) -> Value {
    let fields = json!({ "response": { "inline_string": text } });
    internal_listener("inner", [extension("filters.network.direct_response.v3.Config", fields)])
}

fn heard(proxy: &Proxy) -> String {
    let mut said = String::new();
    let mut stream: TcpStream = client::connect(proxy.listener("outer"));
    // A reset is how a hop that has no listener ends; then nothing was said.
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn an_inner_listener_comes_changes_and_survives_a_bad_update() {
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
fn what_makes_no_sense_is_refused_or_ends_the_stream() {
    for api_type in ["GRPC", "DELTA_GRPC"] {
        let mut plane = ControlPlane::start();
        plane.set(LISTENER, "1", &[saying("one")]);
        let proxy = steered(&plane, api_type);
        plane.request(LISTENER);
        plane.request(LISTENER);
        // Field 1023, which no listener has.
        plane.set(LISTENER, "2", &[json!({ "name": "strange", "$bytes": "CgdzdHJhbmdl+D8B" })]);
        let why = plane.request(LISTENER)["error_detail"]["message"].take();
        let why = why.as_str().unwrap_or_default();
        assert!(why.contains("Listener/strange") && why.contains("field of number 1023"), "{why}");
        assert_eq!(heard(&proxy), "one");
        // Bytes that are no message at all.
        plane.command(&json!({ "push_bytes": "Cv///w==" }));
        plane.wait("closed");
        plane.wait("stream");
        assert_eq!(heard(&proxy), "one");
    }
}
