//! Configurations that cannot work but are no errors, as in Envoy: they start, connections fail with a reason. Underpass
//! adds a warning that says what is missing, and where.

use std::net::TcpStream;

use serde_json::{Value, json};
use underpass_tests::{
    Chain, Origin, Proxy, With,
    client::{End, ask, read_all},
    config::{bootstrap, cluster, internal, internal_listener, listener, port, tcp_proxy},
    mistake::Mistake,
};

#[test]
fn names_that_lead_nowhere_are_warnings() {
    let mistakes = [
        Mistake { instead_of: "cluster: to_inner", write: "cluster: §nowhere", names: &["'nowhere'"] },
        Mistake {
            instead_of: "        - endpoint: {address: {envoy_internal_address: {server_listener_name: inner}}}",
            write: "        - §endpoint: {address: {envoy_internal_address: {server_listener_name: nobody}}}",
            names: &["'nobody'"],
        },
        // The second listener of a name is not used.
        Mistake { instead_of: "- name: inner", write: "- name: outer", names: &["outer"] },
        // Nobody can resolve the name of an internal listener.
        Mistake { instead_of: "type: STATIC\n", write: "type: STRICT_DNS\n", names: &["to_inner"] },
    ];
    mistakes.iter().for_each(Mistake::assert_warned);
}

/// A TCP listener whose only client sends nothing: what the client sees.
#[track_caller]
fn silent_client(proxy: &Proxy) -> (String, End) {
    let mut client: TcpStream = proxy.connect("outer");
    read_all(&mut client)
}

/// The outer half of a chain: its cluster leads nowhere.
fn outer_only(extension: bool) -> Value {
    let outer =
        tcp_proxy("outer", "to_inner").with(underpass_tests::config::log_to("outer.log", Chain::ENDING));
    let mut config = bootstrap([listener("outer", [outer])], [cluster("to_inner", [internal("nope")])]);
    if !extension {
        config["bootstrap_extensions"] = json!([]);
    }
    config
}

#[test]
fn absent_internal_listener_fails_each_connection_at_once() {
    for with_extension in [true, false] {
        let proxy = Proxy::start(outer_only(with_extension));
        assert_eq!(silent_client(&proxy), (String::new(), End::Eof));
        let stats = proxy.admin().stats();
        for counter in [
            "upstream_cx_connect_fail",
            "upstream_cx_connect_attempts_exceeded",
            "upstream_rq_pending_failure_eject",
        ] {
            assert_eq!(stats[&format!("cluster.to_inner.{counter}")], 1, "{counter}");
        }
        let lines = proxy.lines("outer.log", 1);
        assert_eq!(
            lines,
            [
                "UF,URX immediate_connect_error:_Invalid_argument|remote_address:envoy://nope/ rx=0 tx=0 attempts=1"
            ]
        );
    }
}

#[test]
fn unknown_cluster_closes_each_connection() {
    let proxy = Proxy::start(Chain::to_port(1).outer(json!({ "cluster": "nowhere" })));
    assert_eq!(silent_client(&proxy), (String::new(), End::Eof));
    assert_eq!(proxy.admin().stat("tcp.outer.downstream_cx_no_route"), 1);
    assert_eq!(proxy.lines("outer.log", 1), ["NC - rx=0 tx=0 attempts=0"]);
}

#[test]
fn internal_address_in_a_dns_cluster_is_never_resolved() {
    let proxy = Proxy::start(Chain::to_port(1).to_inner(json!({ "type": "STRICT_DNS" })));
    assert_eq!(silent_client(&proxy), (String::new(), End::Eof));
    assert_eq!(proxy.admin().stat("cluster.to_inner.upstream_cx_none_healthy"), 1);
    assert_eq!(proxy.lines("outer.log", 1), ["UH - rx=0 tx=0 attempts=0"]);
}

#[test]
fn second_listener_of_a_name_is_not_used() {
    let (first, second) = (Origin::speak_first("first"), Origin::speak_first("second"));
    let proxy = Proxy::start(bootstrap(
        [
            listener("outer", [tcp_proxy("outer", "to_inner")]),
            internal_listener("inner", [tcp_proxy("one", "first")]),
            internal_listener("inner", [tcp_proxy("two", "second")]),
            listener("outer", [tcp_proxy("other", "second")]),
        ],
        [
            cluster("to_inner", [internal("inner")]),
            cluster("first", [port(first.port())]),
            cluster("second", [port(second.port())]),
        ],
    ));
    assert_eq!(silent_client(&proxy), ("first".into(), End::Eof));
    assert_eq!(proxy.addresses("outer").len(), 1);
}

#[test]
fn fields_without_a_meaning_for_internal_listeners_are_accepted() {
    let origin = Origin::echo();
    let inner = || internal_listener("inner", [tcp_proxy("inner", "up")]);
    let up = || [cluster("to_inner", [internal("inner")]), cluster("up", [port(origin.port())])];
    let outer = || listener("outer", [tcp_proxy("outer", "to_inner")]);
    let nameless = bootstrap([outer(), inner(), inner().with(json!({ "name": "" }))], up());
    // Without a name it cannot be reached, but does no harm.
    assert_eq!(ask(&mut Proxy::start(nameless).connect("outer"), "hello"), "hello");
    for fields in [json!({ "bind_to_port": false }), json!({ "per_connection_buffer_limit_bytes": 1000 })] {
        let proxy = Proxy::start(bootstrap([outer(), inner().with(fields)], up()));
        assert_eq!(ask(&mut proxy.connect("outer"), "hello"), "hello");
    }
}

#[test]
fn bootstrap_extension_may_be_named_twice() {
    let mut config = bootstrap([], []);
    let extension = config["bootstrap_extensions"][0].clone();
    config["bootstrap_extensions"] = json!([extension, extension]);
    assert_eq!(Proxy::start(config).admin().get("/ready"), "LIVE\n");
}
