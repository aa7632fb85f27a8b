//! What we do unlike Envoy on purpose: each difference that changes traffic has a runtime key, and `--compat envoy` turns
//! all of them off. `docs/differences.md` lists them.

use std::{fs, io::Read as _};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, Start, With,
    client::{self, ask},
    config::{
        bootstrap, cluster, extension, hops, internal, internal_listener, internal_upstream, listener,
        log_to, metadata, port, raw_buffer, tcp_proxy,
    },
    eventually,
    feature::compare,
    mistake::{GOOD, outcome},
    origin::{dead_port, note},
};

#[test]
fn every_feature_of_the_page_is_looked_at_here() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/differences.md")).unwrap();
    let prefix = "| `underpass.features.";
    let listed: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once('`')).collect();
    let names: Vec<_> = listed.into_iter().map(|(name, _)| name).collect();
    let here = [
        // In tests/http_routing.rs.
        "connect_half_close",
        // In tests/lifecycle.rs, since it is off where nobody asks for it.
        "drain_on_term",
        "internal_hop_limit",
        "internal_upstream_request_metadata",
        "notice_reset_while_connecting",
        "proxy_protocol_without_addresses",
        // The tunnels' are in tests/tunnelling.rs and tests/get_in_connect.rs.
        "tunnel_abort",
        "tunnel_any_success",
        "tunnel_half_close",
        "tunnel_refusal_status",
        "tunnel_response_timeout",
    ];
    assert_eq!(names, here);
}

#[test]
fn chains_of_internal_hops_are_limited() {
    let origin = Origin::echo();
    let works = |proxy: &Proxy| {
        let mut client = proxy.connect("hop0");
        std::io::Write::write_all(&mut client, b"hello").is_ok() && matches!(client.read(&mut [0; 5]), Ok(5))
    };
    assert_eq!(compare("internal_hop_limit", &hops(33, origin.port()), works), [false, true, true]);
    assert_eq!(compare("internal_hop_limit", &hops(32, origin.port()), works), [true, true, true]);
}

#[test]
fn client_that_resets_while_its_upstream_is_connected_to_is_noticed() {
    const ATTEMPTS: u64 = 12;
    let trying = tcp_proxy("entry", "up").with(json!({
        "max_connect_attempts": ATTEMPTS,
        "backoff_options": { "base_interval": "0.1s", "max_interval": "0.1s" },
    }));
    let config = bootstrap([listener("entry", [trying])], [cluster("up", [port(dead_port())])]);
    let attempts_after_a_reset = |proxy: &Proxy| {
        let client = proxy.connect("entry");
        eventually("it is tried", || proxy.admin().stat("cluster.up.upstream_cx_connect_fail") > 0);
        client::reset(client);
        proxy.admin().wait_idle();
        proxy.admin().stat("cluster.up.upstream_cx_connect_fail")
    };
    let [ours, off, envoys] = compare("notice_reset_while_connecting", &config, attempts_after_a_reset);
    assert!(ours < ATTEMPTS, "{ours} attempts although the client was gone");
    assert_eq!([off, envoys], [ATTEMPTS, ATTEMPTS]);
}

#[test]
fn proxy_header_of_an_internal_client_says_that_it_has_no_addresses() {
    let origin = Origin::start(|mut stream, record| {
        let mut bytes = Vec::new();
        // The client closes, so this ends.
        let _ = stream.read_to_end(&mut bytes);
        note(record, bytes.escape_ascii().to_string());
    });
    let transport = extension(
        "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        json!({ "config": { "version": "V2" }, "transport_socket": raw_buffer() }),
    );
    let mut config = hops(1, origin.port());
    let up = config["static_resources"]["clusters"][1].take();
    config["static_resources"]["clusters"][1] = up.with(json!({ "transport_socket": transport }));
    let received = |proxy: &Proxy| {
        let seen = origin.record().len();
        let mut client = proxy.connect("hop0");
        std::io::Write::write_all(&mut client, b"hello").unwrap();
        drop(client);
        origin.wait(seen + 1).pop().unwrap()
    };
    // Version 2 and LOCAL, no family, no addresses.
    let local = r"\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00hello";
    assert_eq!(compare("proxy_protocol_without_addresses", &config, received), [local, "hello", "hello"]);
}

/// `outer` → `middle` → `inner`, where the second hop hands on what the first one brought, as metadata of the request.
fn handing_on(origin: &Origin, kind: &str) -> Value {
    let first =
        cluster("to_middle", [internal("middle").with(metadata(json!({ "from": { "host": "first" } })))])
            .with(json!({ "transport_socket": internal_upstream(&[("from", "host")]) }));
    let second = cluster("to_inner", [internal("inner")])
        .with(json!({ "transport_socket": internal_upstream(&[("from", kind)]) }));
    let log = log_to("inner.log", "%DYNAMIC_METADATA(from)%");
    bootstrap(
        [
            listener("outer", [tcp_proxy("outer", "to_middle")]),
            internal_listener("middle", [tcp_proxy("middle", "to_inner")]),
            internal_listener("inner", [tcp_proxy("inner", "up").with(log)]),
        ],
        [first, second, cluster("up", [port(origin.port())])],
    )
}

#[test]
fn metadata_of_the_request_goes_over_several_hops() {
    let origin = Origin::echo();
    let proxy = Proxy::start(handing_on(&origin, "request"));
    assert_eq!(ask(&mut proxy.connect("outer"), "hello"), "hello");
    assert_eq!(proxy.lines("inner.log", 1), [r#"{"host":"first"}"#]);
    assert_eq!(proxy.admin().stat("cluster.to_inner.internal_upstream.no_metadata"), 0);
}

#[test]
fn metadata_of_request_and_route_are_refused_as_in_envoy_if_that_is_asked_for() {
    let origin = Origin::echo();
    for kind in ["request", "route"] {
        let config = handing_on(&origin, kind);
        let refused = |start: Start<'_>| {
            let output = start.arguments(["--mode", "validate"]).run();
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).contains("metadata type is not supported"),
            )
        };
        assert_eq!(refused(Start::new(config.clone())), (Some(0), false), "{kind}");
        assert_eq!(refused(Start::new(config).arguments(["--compat", "envoy"])), (Some(1), true), "{kind}");
    }
}

#[test]
fn yaml_is_read_with_merge_keys_and_with_texts_that_look_like_something_else() {
    let merged = GOOD
        .replacen("static_resources:\n", "node: {id: n, cluster: y}\nstatic_resources:\n", 1)
        .replacen(
            "  - name: to_inner\n    type: STATIC\n",
            "  - &base\n    name: to_inner\n    type: STATIC\n",
            1,
        )
        .replacen(
            "  - name: up\n    type: STATIC\n",
            "  - <<: *base\n    name: up\n    transport_socket: null\n",
            1,
        );
    let (code, said) = outcome(&merged, "validate");
    assert_eq!(code, Some(0), "{said}");
}
