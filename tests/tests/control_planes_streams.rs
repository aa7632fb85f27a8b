//! How streams to a control plane end, and when they begin again: beside Envoy where there is one.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use underpass_tests::{
    Proxy, Start, With,
    binary::same_as_envoy,
    config::bootstrap,
    control_plane::{control_plane_cluster, own_stream},
    eventually,
    scripted_plane::{Act, ScriptedPlane, Version},
};

const ONE: Version = ("version-one", &["one"]);
const TWO: Version = ("version-two", &["one", "two"]);

/// A proxy that has its clusters from there, over a stream of their own.
fn started(binary: &Path, plane: &ScriptedPlane, source: &Value) -> Proxy {
    let config = bootstrap([], [control_plane_cluster(plane.port())]).with(json!({
        "node": { "id": "id", "cluster": "cluster" }, "dynamic_resources": { "cds_config": source } }));
    Start::new(config).binary(binary).start()
}

#[test]
fn a_response_on_a_stream_that_is_reset_in_the_middle_of_it_counts_for_nothing() {
    let seen = same_as_envoy(|binary| {
        let plane = ScriptedPlane::start(|stream| match stream {
            0 => Act::AnswerThenResetInMidMessage(ONE, TWO),
            1..=3 => Act::ResetInMidMessage(TWO),
            _ => Act::Answer(TWO),
        });
        let proxy = started(binary, &plane, &own_stream("GRPC"));
        proxy.admin().wait_stat("cluster_manager.cds.update_success", 2);
        let says = |request: &[u8], version: &str| {
            request.windows(version.len()).any(|window| window == version.as_bytes())
        };
        let streams = plane.streams();
        let asked = streams
            .iter()
            .map(|(_, request)| format!("one: {}, two: {}", says(request, ONE.0), says(request, TWO.0)));
        let mut seen: Vec<_> = asked.collect();
        let stats = ["cluster_added", "cds.update_success", "cds.update_rejected"]
            .map(|name| proxy.admin().stat(&format!("cluster_manager.{name}")));
        seen.push(format!("{stats:?}"));
        // A reset is for one stream; the connection goes on.
        seen.push(format!("connections: {}", plane.connections()));
        seen
    });
    let good = "one: true, two: false";
    assert_eq!(
        seen,
        ["one: false, two: false", good, good, good, good, "[3, 2, 0]", "connections: 1"],
        "with each stream the last good version is told"
    );
}

#[test]
fn streams_that_fail_are_opened_again_ever_later_until_one_has_an_answer() {
    const FAIL: usize = 12;
    const ANSWER: usize = 20;
    same_as_envoy(|binary| {
        let plane = ScriptedPlane::start(|stream| match stream {
            _ if stream < FAIL && stream % 2 == 0 => Act::Refuse,
            _ if stream < FAIL => Act::Reset,
            _ if stream < FAIL + ANSWER => Act::AnswerAndEnd(ONE),
            _ => Act::Answer(TWO),
        });
        let mut source = own_stream("GRPC");
        source["api_config_source"]["grpc_services"][0]["envoy_grpc"]["retry_policy"]["retry_back_off"] =
            json!({ "base_interval": "0.01s", "max_interval": "1s" });
        let proxy = started(binary, &plane, &source);
        eventually("all is as it should be", || proxy.admin().stat("cluster_manager.active_clusters") == 3);
        let opened: Vec<_> = plane.streams().into_iter().map(|(when, _)| when).collect();
        assert_eq!(opened.len(), FAIL + ANSWER + 1);
        // Each wait is a random part of 10, 20, 40 ms and so on up to a second: without growth they were 120 ms at most, and
        // that they are so short with it has a chance of one in a million.
        let failed = opened[FAIL] - opened[0];
        assert!(failed > Duration::from_millis(300), "{failed:?}");
        // After an answer 10 ms at most; random parts of a second, ten of them.
        let answered = opened[FAIL + ANSWER] - opened[FAIL];
        assert!(answered < Duration::from_secs(5), "{answered:?}");
        let stats = ["cds.update_success", "cds.update_rejected"]
            .map(|name| proxy.admin().stat(&format!("cluster_manager.{name}")));
        (stats, plane.connections())
    });
}
