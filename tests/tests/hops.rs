//! What crosses an internal hop: addresses in logs, metadata, filter state.

use serde_json::{Value, json};
use underpass_tests::{
    Chain, Origin, Proxy, With,
    client::ask,
    config::{
        bootstrap, cluster, filter_state, internal, internal_listener, internal_upstream, listener, log_to,
        metadata, port, set_filter_state, tcp_proxy,
    },
};

/// Sends five bytes to and fro, and waits until everything is closed.
#[track_caller]
fn five_bytes(proxy: &Proxy) {
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "hello"), "hello");
    drop(client);
    proxy.admin().wait_idle();
}

const DOWNSTREAM: &str = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% id=%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%";
const UPSTREAM: &str =
    "%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_CLUSTER%";

#[test]
fn addresses_of_a_hop_are_the_listener_and_the_internal_client() {
    let origin = Origin::echo();
    for (target, address, id) in [("inner/ep1", "envoy://inner/ep1", "ep1"), ("inner", "envoy://inner/", "")]
    {
        let to_inner = cluster("to_inner", [internal(target)]);
        let proxy = Proxy::start(
            Chain::to(&origin)
                .to_inner(to_inner)
                .outer(log_to("outer.log", UPSTREAM))
                .inner(log_to("inner.log", DOWNSTREAM)),
        );
        five_bytes(&proxy);
        let client = "envoy://internal_client_address/";
        assert_eq!(proxy.lines("outer.log", 1), [format!("{address} {address} {client} to_inner")]);
        assert_eq!(proxy.lines("inner.log", 1), [format!("{client} {client} {address} id={id}")]);
    }
}

#[test]
fn client_half_of_a_hop_takes_a_connection_id() {
    let origin = Origin::echo();
    let log = "%CONNECTION_ID%";
    let proxy =
        Proxy::start(Chain::to(&origin).outer(log_to("outer.log", log)).inner(log_to("inner.log", log)));
    five_bytes(&proxy);
    let id = |file| proxy.lines(file, 1)[0].parse::<u64>().unwrap();
    assert_eq!(id("inner.log") - id("outer.log"), 2);
}

#[test]
fn endpoints_with_different_ids_are_different_hosts_of_one_listener() {
    let origin = Origin::echo();
    let to_inner = cluster("to_inner", [internal("inner/a"), internal("inner/b")]);
    let proxy = Proxy::start(Chain::to(&origin).to_inner(to_inner).inner(log_to("inner.log", DOWNSTREAM)));
    five_bytes(&proxy);
    five_bytes(&proxy);
    let lines = proxy.lines("inner.log", 2).join("\n");
    for id in ["id=a", "id=b"] {
        assert!(lines.contains(id), "{lines}");
    }
    let clusters = proxy.admin().get("/clusters");
    for host in ["to_inner::envoy://inner/a::cx_total::1", "to_inner::envoy://inner/b::cx_total::1"] {
        assert!(clusters.contains(host), "{clusters}");
    }
}

/// What the log of a hop shows of what the chain hands on.
const SEEN: &str = "%DYNAMIC_METADATA(hostmd)% %DYNAMIC_METADATA(clmd:value)% | %FILTER_STATE(k.trans:PLAIN)% %FILTER_STATE(k.once:PLAIN)% %FILTER_STATE(k.own:PLAIN)%";

/// A cluster of an internal listener, with metadata of its endpoint and of itself where there is some.
fn hop(name: &str, target: &str, host: Option<Value>, own: Option<Value>) -> Value {
    let endpoint = match host {
        Some(value) => internal(target).with(metadata(json!({ "hostmd": value }))),
        None => internal(target),
    };
    match own {
        Some(value) => cluster(name, [endpoint]).with(metadata(json!({ "clmd": value }))),
        None => cluster(name, [endpoint]),
    }
}

/// A transport socket that hands on both kinds of metadata.
fn transport() -> Value {
    json!({ "transport_socket": internal_upstream(&[("hostmd", "host"), ("clmd", "cluster")]) })
}

/// `outer` → `first` → `second` → origin, each with its log; filter state of three kinds is set in `outer`.
fn two_hops(origin: &Origin, to_first: Value, to_second: Value) -> Proxy {
    let state = set_filter_state([
        filter_state("k.trans", "envoy.string", "t", "TRANSITIVE"),
        filter_state("k.once", "envoy.string", "o", "ONCE"),
        filter_state("k.own", "envoy.string", "n", "NONE"),
    ]);
    let tcp = |name: &str, cluster: &str| tcp_proxy(name, cluster).with(log_to(&format!("{name}.log"), SEEN));
    Proxy::start(bootstrap(
        [
            listener("outer", [state, tcp("outer", "to_first")]),
            internal_listener("first", [tcp("first", "to_second")]),
            internal_listener("second", [tcp("second", "up")]),
        ],
        [to_first, to_second, cluster("up", [port(origin.port())])],
    ))
}

#[track_caller]
fn assert_seen(proxy: &Proxy, outer: &str, first: &str, second: &str) {
    five_bytes(proxy);
    for (log, expected) in [("outer.log", outer), ("first.log", first), ("second.log", second)] {
        assert_eq!(proxy.lines(log, 1), [expected], "{log}");
    }
}

#[test]
fn each_hop_sees_the_metadata_of_its_own_endpoint_and_cluster() {
    let origin = Origin::echo();
    let proxy = two_hops(
        &origin,
        hop("to_first", "first", Some(json!({ "value": "h1" })), Some(json!({ "value": "c1", "n": 3 })))
            .with(transport()),
        hop("to_second", "second", Some(json!({ "value": "h2" })), Some(json!({ "value": "c2" })))
            .with(transport()),
    );
    // What is shared once goes one hop, what is transitive goes on; the outer listener has no metadata of its own.
    assert_seen(&proxy, "- - | t o n", r#"{"value":"h1"} c1 | t o -"#, r#"{"value":"h2"} c2 | t - -"#);
    assert_eq!(
        proxy.admin().get("/stats?filter=no_metadata"),
        "cluster.to_first.internal_upstream.no_metadata: 0\ncluster.to_second.internal_upstream.no_metadata: 0\n"
    );
}

#[test]
fn missing_metadata_is_counted_and_traffic_goes_on() {
    let origin = Origin::echo();
    let proxy = two_hops(
        &origin,
        hop("to_first", "first", Some(json!({ "value": "h1" })), None).with(transport()),
        hop("to_second", "second", None, None).with(transport()),
    );
    assert_seen(&proxy, "- - | t o n", r#"{"value":"h1"} - | t o -"#, "- - | t - -");
    // One for each key that is not there.
    assert_eq!(
        proxy.admin().get("/stats?filter=no_metadata"),
        "cluster.to_first.internal_upstream.no_metadata: 1\ncluster.to_second.internal_upstream.no_metadata: 2\n"
    );
}

#[test]
fn nothing_crosses_without_the_transport_socket() {
    let origin = Origin::echo();
    let values = || Some(json!({ "value": "there" }));
    let proxy = two_hops(
        &origin,
        hop("to_first", "first", values(), values()),
        hop("to_second", "second", values(), values()),
    );
    assert_seen(&proxy, "- - | t o n", "- - | - - -", "- - | - - -");
    assert_eq!(proxy.admin().get("/stats?filter=no_metadata"), "");
}

#[test]
fn filter_state_needs_no_metadata_to_cross() {
    let origin = Origin::echo();
    let bare = || json!({ "transport_socket": internal_upstream(&[]) });
    let proxy = two_hops(
        &origin,
        hop("to_first", "first", None, None).with(bare()),
        hop("to_second", "second", None, None).with(bare()),
    );
    assert_seen(&proxy, "- - | t o n", "- - | t o -", "- - | t - -");
    assert_eq!(proxy.admin().stat("cluster.to_first.internal_upstream.no_metadata"), 0);
}

#[test]
fn each_connection_has_its_own_filter_state() {
    let origin = Origin::echo();
    let state = filter_state("peer", "envoy.string", "%DOWNSTREAM_REMOTE_ADDRESS%", "ONCE");
    let transport = json!({ "transport_socket": internal_upstream(&[]) });
    let proxy = Proxy::start(bootstrap(
        [
            listener("outer", [set_filter_state([state]), tcp_proxy("outer", "to_inner")]),
            internal_listener(
                "inner",
                [tcp_proxy("inner", "up")
                    .with(log_to("inner.log", "%FILTER_STATE(peer:PLAIN)% %FILTER_STATE(peer)%"))],
            ),
        ],
        [cluster("to_inner", [internal("inner")]).with(transport), cluster("up", [port(origin.port())])],
    ));
    for at in 0..3 {
        let mut client = proxy.connect("outer");
        assert_eq!(ask(&mut client, "hello"), "hello");
        let own = client.local_addr().unwrap();
        drop(client);
        assert_eq!(proxy.lines("inner.log", at + 1)[at], format!("{own} \"{own}\""));
    }
}

#[test]
fn filter_state_chooses_the_cluster_and_the_idle_timeout_of_the_inner_proxy() {
    let (usual, other) = (Origin::echo(), Origin::speak_first("other"));
    let state = set_filter_state([
        filter_state("envoy.tcp_proxy.cluster", "envoy.tcp_proxy.cluster", "other", "ONCE"),
        filter_state(
            "envoy.tcp_proxy.per_connection_idle_timeout_ms",
            "envoy.tcp_proxy.per_connection_idle_timeout_ms",
            "300",
            "ONCE",
        ),
    ]);
    // A set that does not forward further than the hop: the outer proxy must not use it itself.
    let proxy = Proxy::start(bootstrap(
        [
            listener("outer", [tcp_proxy("outer", "to_middle")]),
            internal_listener("middle", [state, tcp_proxy("middle", "up")]),
        ],
        [
            cluster("to_middle", [internal("middle")]),
            cluster("up", [port(usual.port())]),
            cluster("other", [port(other.port())]),
        ],
    ));
    let mut client = proxy.connect("outer");
    assert_eq!(underpass_tests::client::read(&mut client, 5), "other");
    // The client sends nothing and does not close.
    proxy.admin().wait_stat("tcp.middle.idle_timeout", 1);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_total"), 0);
    assert_eq!(proxy.admin().stat("cluster.other.upstream_cx_total"), 1);
}

#[test]
fn upstream_filter_state_and_metadata_show_in_the_outer_log() {
    let origin = Origin::echo();
    let to_inner =
        cluster("to_inner", [internal("inner").with(metadata(json!({ "hostmd": { "value": "h" } })))])
            .with(json!({ "transport_socket": internal_upstream(&[]) }));
    let state = set_filter_state([filter_state("k", "envoy.string", "shared", "ONCE")]);
    let log = log_to("outer.log", "%UPSTREAM_FILTER_STATE(k:PLAIN)% %UPSTREAM_METADATA(hostmd:value)%");
    let proxy = Proxy::start(bootstrap(
        [
            listener("outer", [state, tcp_proxy("outer", "to_inner").with(log)]),
            internal_listener("inner", [tcp_proxy("inner", "up")]),
        ],
        [to_inner, cluster("up", [port(origin.port())])],
    ));
    five_bytes(&proxy);
    assert_eq!(proxy.lines("outer.log", 1), ["shared h"]);
}
