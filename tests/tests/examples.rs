//! Every configuration of `examples/configs` is started and carries traffic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Origin, Proxy, Start,
    client::ask,
    eventually,
    example::{self, Example},
    http_client,
    origin::dead_port,
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

/// A configuration of an example without its `admin`: the test brings its own.
fn without_admin(text: &str) -> String {
    let is_top = |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase());
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        if is_top(line) {
            inside = line.starts_with("admin:");
        }
        !inside
    });
    kept.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn files_of_the_dynamic_example_are_followed() {
    let origin = HttpOrigin::start();
    let port = origin.port().to_string();
    let files = example::dynamic(&[("port_value: 10000", "port_value: 0"), ("10001", &port)]);
    let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap();
    let proxy = Proxy::start(without_admin(&read("bootstrap.yaml")));
    let at = proxy.listener("entry");
    let reply = http_client::get(at, "/");
    assert_eq!((reply.status, reply.header("x-routes")), (200, "first"));
    let changed = read("routes.yaml").replace("value: first", "value: second");
    fs::write(files.path().join("new"), changed).unwrap();
    fs::rename(files.path().join("new"), files.path().join("routes.yaml")).unwrap();
    eventually("the new routes are used", || http_client::get(at, "/").header("x-routes") == "second");
}

/// The files in the manifests, by name.
fn config_map_files() -> Vec<(String, String)> {
    let text = example::fleet("kubernetes.yaml");
    let mut files: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(": |")) {
            files.push((name.to_owned(), String::new()));
            inside = true;
        } else if inside && (line.starts_with("    ") || line.is_empty()) {
            let (_, file) = files.last_mut().unwrap();
            *file += line.get(4..).unwrap_or_default();
            *file += "\n";
        } else {
            inside = false;
        }
    }
    files
}

#[test]
fn what_is_in_the_manifests_starts_and_serves() {
    let origin = Origin::echo();
    let files = config_map_files();
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bootstrap.yaml", "listeners.yaml"]);
    let mounted = tempfile::tempdir().unwrap();
    let place = mounted.path().display().to_string();
    fs::write(
        mounted.path().join("listeners.yaml"),
        files[1].1.replace("0.0.0.0, port_value: 10000", "127.0.0.1, port_value: 0"),
    )
    .unwrap();
    // Nobody is the control plane here: the start waits for it no longer than it is told to.
    let bootstrap = without_admin(&files[0].1)
        .replace("/etc/underpass/listeners", &place)
        .replace("initial_fetch_timeout: 15s", "initial_fetch_timeout: 0.2s")
        .replace(
            "control-plane.mesh.svc.cluster.local, port_value: 18000",
            &format!("127.0.0.1, port_value: {}", dead_port()),
        )
        .replace("type: STRICT_DNS", "type: STATIC");
    let service = format!(
        "  - {{name: service, load_assignment: {{cluster_name: service, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
         {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}\n",
        origin.port()
    );
    // Who the pod is, its manifest says on the command line.
    let who = ["--service-node", "pod-1"];
    let proxy = Start::new(bootstrap + &service).arguments(who).start();
    assert_eq!(ask(&mut proxy.connect("entry"), "hello"), "hello");
    let next = files[1]
        .1
        .replace("0.0.0.0, port_value: 10000", "127.0.0.1, port_value: 0")
        .replace("name: entry", "name: next");
    fs::write(mounted.path().join("new"), next).unwrap();
    fs::rename(mounted.path().join("new"), mounted.path().join("listeners.yaml")).unwrap();
    eventually("the mounted file is followed", || !proxy.addresses("next").is_empty());
}

#[test]
fn the_bootstrap_of_a_machine_validates() {
    let output = Start::new(example::fleet("bootstrap.yaml")).arguments(["--mode", "validate"]).run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}
