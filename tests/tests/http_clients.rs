//! Clients that others wrote, through a connection manager and through tunnels: curl, nghttp and h2load (the latter two are in
//! Debian's package `nghttp2-client`). One that is not installed is skipped with a word.

use std::{
    fs,
    process::{Command, Stdio},
};

use underpass_tests::{
    HttpOrigin, Proxy, With,
    config::{bootstrap, cluster, listener, port},
    http_config::{accepts_connect, connect_route, hcm},
    proxy::run,
    tunnel::{Options, Tunnel, Way},
};

/// Whether a program is installed; says so if not.
fn has(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: {program} is not installed (apt-get install curl nghttp2-client)");
    }
    found
}

/// What a program prints.
#[track_caller]
fn output(program: &str, arguments: &[&str]) -> String {
    let output = run(Command::new(program).args(arguments));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn curl_speaks_all_versions_of_http() {
    if !has("curl") {
        return;
    }
    for way in Way::ALL {
        let origin = HttpOrigin::start();
        let tunnel = Tunnel::start(way, origin.port());
        let url = |path: &str| format!("http://{}{path}", tunnel.entry());
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let text =
                output("curl", &["-sS", version, "-w", " %{http_code} %{http_version}", &url("/bytes/5")]);
            let spoken = if version == "--http1.1" { "1.1" } else { "2" };
            assert_eq!(text, format!("bbbbb 200 {spoken}"), "{way:?}");
            let body = "x".repeat(100_000);
            let text = output("curl", &["-sS", version, "--data-binary", &body, &url("/sink")]);
            assert_eq!(text, "100000", "{way:?} {version}");
        }
        // Several requests over one connection, one with a large body that waits for `100 Continue`.
        let file = tunnel.left.path("body");
        fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
        let file = format!("@{}", file.display());
        let text = output(
            "curl",
            &[
                "-sS",
                "-H",
                "expect: 100-continue",
                "--data-binary",
                &file,
                &url("/sink"),
                "--next",
                "-sS",
                &url("/bytes/3"),
            ],
        );
        assert_eq!(text, "3000000bbb", "{way:?}");
    }
}

#[test]
fn curl_uses_the_proxy_as_a_proxy() {
    if !has("curl") {
        return;
    }
    let target = HttpOrigin::start();
    let entry = hcm("entry", [connect_route("up")]).with(accepts_connect());
    let proxy = Proxy::start(bootstrap([listener("entry", [entry])], [cluster("up", [port(target.port())])]));
    let through = format!("http://{}", proxy.listener("entry"));
    let text =
        output("curl", &["-sS", "--proxytunnel", "-x", &through, "http://somewhere.example:1234/bytes/4"]);
    assert_eq!(text, "bbbb");
    assert_eq!(target.seen()[0].header("host"), "somewhere.example:1234");
    let log = proxy.lines("entry.log", 1);
    assert!(log[0].ends_with("CONNECT somewhere.example:1234 -"), "{log:?}");
}

#[test]
fn curl_upgrades_from_http1_where_the_proxy_lets_it_be() {
    if !has("curl") {
        return;
    }
    let origin = HttpOrigin::start();
    let tunnel = Tunnel::start(Way::Direct, origin.port());
    // An offer of h2c is ignored, as in Envoy.
    let url = format!("http://{}/bytes/2", tunnel.entry());
    assert_eq!(output("curl", &["-sS", "--http2", "-w", " %{http_version}", &url]), "bb 1.1");
}

#[test]
fn nghttp_gets_many_things_at_once() {
    if !has("nghttp") {
        return;
    }
    for way in Way::ALL {
        let origin = HttpOrigin::start();
        let options = Options { http2: true, ..Options::default() };
        let tunnel = Tunnel::start_with(way, origin.port(), &options);
        let url = |path: &str| format!("http://{}{path}", tunnel.entry());
        let urls: Vec<_> = (1..=20).map(|at| url(&format!("/bytes/{}", at * 1000))).collect();
        let mut arguments = vec!["-n", "-s"];
        arguments.extend(urls.iter().map(String::as_str));
        let text = output("nghttp", &arguments);
        assert_eq!(text.lines().filter(|line| line.contains(" 200 ")).count(), 20, "{way:?}: {text}");
        let text =
            output("nghttp", &["-n", "-v", "--trailer", "x-end: now", "-d", "/dev/null", &url("/trailers")]);
        assert!(text.contains("x-trailer: done"), "{way:?}: {text}");
    }
}

#[test]
fn h2load_loses_no_request() {
    if !has("h2load") {
        return;
    }
    for way in Way::ALL {
        let origin = HttpOrigin::start();
        let tunnel = Tunnel::start(way, origin.port());
        let url = format!("http://{}/bytes/100", tunnel.entry());
        for version in [&["--h1"][..], &["-m", "10"]] {
            let common = ["-n", "2000", "-c", "10", &url];
            let text = output("h2load", &[version, &common].concat());
            assert!(
                text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
                "{way:?} {version:?}: {text}"
            );
        }
        tunnel.wait_quiet();
    }
}

#[test]
fn h2load_gets_answers_of_a_proxy_without_upstream() {
    if !has("h2load") {
        return;
    }
    let tunnel = Tunnel::start(Way::Http2Connect, underpass_tests::origin::dead_port());
    let url = format!("http://{}/", tunnel.entry());
    let text = output("h2load", &["-n", "500", "-c", "5", "-m", "10", &url]);
    assert!(text.contains("0 2xx, 0 3xx, 0 4xx, 500 5xx"), "{text}");
    tunnel.wait_quiet();
}
