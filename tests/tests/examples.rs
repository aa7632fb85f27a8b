//! Every configuration of `examples/configs` is started and carries traffic.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, Start,
    client::ask,
    example::{self, Example},
    http_client,
};

#[test]
fn every_example_is_known() {
    let known: BTreeSet<String> = Example::ALL.iter().map(|it| it.file.to_owned()).collect();
    assert_eq!(example::files(), known, "each file in examples/configs is in Example::ALL");
}

#[test]
fn every_example_validates() {
    for example in Example::ALL {
        let output = Start::new(example.text()).arguments(["--mode", "validate"]).run();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}: {}",
            example.file,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The text of an example about tunnels, with other ports; those that the example listens on are of the kernel's choice.
fn tunnelling_example(name: &str, ports: &[(u16, u16)]) -> String {
    let examples = example::tunnelling();
    let text = examples.into_iter().find(|(file, _)| file == name).map(|(_, text)| text);
    let text = text.unwrap_or_else(|| panic!("{name} is there"));
    let admin = text.lines().take_while(|line| !line.starts_with("admin:")).count();
    // The test brings its own `admin`.
    let lines = text.lines().enumerate().filter(|(at, _)| *at != admin && *at != admin + 1);
    let text = lines.fold(String::new(), |text, (_, line)| text + line + "\n");
    ports.iter().fold(text, |text, (from, to)| {
        text.replace(&format!("port_value: {from} }}"), &format!("port_value: {to} }}"))
    })
}

#[test]
fn every_example_about_tunnels_validates() {
    for (file, text) in example::tunnelling() {
        let output = Start::new(text).arguments(["--mode", "validate"]).run();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{file}: {said}");
    }
}

#[test]
fn pairs_of_tunnels_carry_bytes() {
    let origin = Origin::echo();
    for kind in ["http1_connect", "http2_connect", "http2_post"] {
        let right =
            tunnelling_example(&format!("terminate_{kind}.yaml"), &[(10001, 0), (10002, origin.port())]);
        let right = Proxy::start(right);
        let proxy = right.listener("terminator").port();
        let left = tunnelling_example(&format!("encapsulate_in_{kind}.yaml"), &[(10000, 0), (10001, proxy)]);
        let left = Proxy::start(left);
        assert_eq!(ask(&mut left.connect("entry"), "hello"), "hello", "{kind}");
    }
}

#[test]
fn pair_of_tunnels_carries_requests() {
    let right = Proxy::start(tunnelling_example("terminate_http_in_http2_connect.yaml", &[(10001, 0)]));
    let proxy = right.listener("terminator").port();
    let left = tunnelling_example("encapsulate_http_in_http2_connect.yaml", &[(10000, 0), (10001, proxy)]);
    let left = Proxy::start(left);
    let reply = http_client::get(left.listener("ingress"), "/");
    assert_eq!((reply.status, reply.text().as_str()), (200, "Hello from inside the tunnel!\n"));
}

/// Starts an example in front of an echo server and sends five bytes through it.
fn five_bytes(example: Example) -> Proxy {
    let origin = Origin::echo();
    let proxy = Proxy::start(example.in_front_of(&origin));
    let mut client = proxy.connect(example.entry);
    assert_eq!(ask(&mut client, "hello"), "hello", "{}", example.file);
    drop(client);
    proxy.admin().wait_idle();
    proxy
}

#[test]
fn every_example_carries_traffic() {
    for example in Example::ALL {
        five_bytes(example);
    }
}

#[test]
fn three_hops_count_and_the_last_one_logs_its_addresses() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Example::THREE_HOPS.in_front_of(&origin));
    let mut client = proxy.connect("entry");
    assert_eq!(ask(&mut client, "hello"), "hello");
    drop(client);
    proxy.admin().wait_idle();
    for hop in ["entry", "first", "second", "third"] {
        assert_eq!(proxy.admin().stat(&format!("tcp.{hop}.downstream_cx_rx_bytes_total")), 5, "{hop}");
    }
    let lines = proxy.lines("stdout.log", 1);
    let expected =
        format!("envoy://internal_client_address/ -> envoy://third/ -> {} rx=5 tx=5 -", origin.address());
    assert_eq!(lines, [expected]);
}

#[test]
fn metadata_and_filter_state_reach_the_inner_log() {
    let proxy = five_bytes(Example::METADATA);
    let lines = proxy.lines("stdout.log", 1);
    let logged: Value = serde_json::from_str(&lines[0]).unwrap();
    let expected = json!({
        "client": "127.0.0.1",
        "endpoint": { "color": "blue", "ports": [80, 443] },
        "tier": "gold",
        "received": 5,
    });
    assert_eq!(logged, expected);
}
