//! The command line: Envoy's options, their errors, and what the binary tells about itself.

#![expect(clippy::expect_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    fs,
    process::{Command, Output},
};

use underpass_tests::{
    Origin, Start, binary,
    client::ask,
    config::{Config, hops},
    mistake::GOOD,
    proxy,
};

/// Runs the binary with these arguments only: exit code, standard output, standard error.
#[track_caller]
fn underpass(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = proxy::run(Command::new(binary::underpass()).args(arguments));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what it says is UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn missing_file_is_named() {
    for mode in ["serve", "validate"] {
        let (code, _, said) =
            underpass(&["-c", "/no/such/file.yaml", "--mode", mode, "--disable-hot-restart"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("Invalid path: /no/such/file.yaml"), "{said}");
    }
}

#[test]
fn start_without_a_configuration_is_refused() {
    let (code, _, said) = underpass(&["--disable-hot-restart"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("At least one of --config-path or --config-yaml"), "{said}");
}

#[test]
fn unknown_option_is_named() {
    let (code, out, said) = underpass(&["-c", "x.yaml", "--no-such-flag"]);
    assert_eq!(code, Some(1), "{said}");
    assert!((out + &said).contains("--no-such-flag"), "{said}");
}

#[test]
fn wrong_values_of_options_are_refused() {
    for arguments in
        [["--concurrency", "many"], ["--mode", "guess"], ["--log-level", "loud"], ["--compat", "nginx"]]
    {
        let (code, out, said) = underpass(&[&["-c", "x.yaml"], &arguments[..]].concat());
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!((out + &said).contains(arguments[1]), "{arguments:?}: {said}");
    }
}

#[test]
fn version_and_help_are_printed() {
    let (code, version, _) = underpass(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(version.contains("version: "), "{version}");
    let (code, help, _) = underpass(&["--help"]);
    assert_eq!(code, Some(0));
    for option in [
        "--config-path",
        "--config-yaml",
        "--mode",
        "--concurrency",
        "--log-level",
        "--component-log-level",
        "--log-path",
        "--log-format",
        "--drain-time-s",
        "--parent-shutdown-time-s",
        "--base-id",
        "--service-cluster",
        "--service-node",
        "--service-zone",
        "--admin-address-path",
        "--disable-hot-restart",
        "--list-extensions",
        "--compat",
        "--version",
    ] {
        assert!(help.contains(option), "no {option} in\n{help}");
    }
}

#[test]
fn linked_extensions_are_listed_with_category_name_type_and_crate() {
    let (code, listed, said) = underpass(&["--list-extensions"]);
    assert_eq!(code, Some(0), "{said}");
    for (name, kind, provider) in [
        (
            "envoy.bootstrap.internal_listener",
            "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            "underpass-ext-bootstrap-internal-listener",
        ),
        ("network.connection.client.envoy_internal", "", "underpass-ext-client-envoy-internal"),
        (
            "envoy.transport_sockets.internal_upstream",
            "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
            "underpass-ext-transport-internal-upstream",
        ),
        (
            "envoy.transport_sockets.raw_buffer",
            "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
            "underpass-ext-transport-raw-buffer",
        ),
        (
            "envoy.filters.network.tcp_proxy",
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "underpass-ext-tcp-proxy",
        ),
        (
            "envoy.filters.network.echo",
            "envoy.extensions.filters.network.echo.v3.Echo",
            "underpass-ext-network-echo",
        ),
        (
            "envoy.filters.listener.tls_inspector",
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            "underpass-ext-listener-tls-inspector",
        ),
        ("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", ""),
    ] {
        let line = listed.lines().find(|line| line.split_whitespace().any(|word| word == name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{listed}"));
        assert!(line.contains(kind) && line.contains(provider), "{line}");
    }
}

#[test]
fn inline_yaml_is_merged_over_the_file() {
    let origin = Origin::echo();
    // The file has the chain; a second listener and another name of the node come from the command line.
    let more = r#"{"node": {"id": "inline"}, "static_resources": {"listeners": [{"name": "more",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "more", "cluster": "to_hop1"}}]}]}]}}"#;
    let proxy = Start::new(hops(1, origin.port())).arguments(["--config-yaml", more]).start();
    for listener in ["hop0", "more"] {
        assert_eq!(ask(&mut proxy.connect(listener), "hello"), "hello", "{listener}");
    }
    assert_eq!(proxy.admin().json("/server_info")["node"]["id"], "inline");
}

#[test]
fn inline_yaml_alone_is_a_configuration() {
    let (code, out, said) = underpass(&["--config-yaml", GOOD, "--mode", "validate"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("OK"), "{out}");
}

#[test]
fn json_file_is_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    fs::write(&path, Config::from(hops(2, 1)).0).unwrap();
    let path = path.display().to_string();
    let (code, out, said) = underpass(&["-c", &path, "--mode", "validate"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(out, format!("configuration '{path}' OK\n"));
}

#[test]
fn log_level_and_format_are_obeyed() {
    let origin = Origin::echo();
    let start = |arguments: &[&str]| {
        let proxy = Start::new(hops(1, origin.port())).arguments(arguments.iter().copied()).start();
        assert_eq!(ask(&mut proxy.connect("hop0"), "hello"), "hello");
        proxy
    };
    let mut quiet = start(&["-l", "off"]);
    quiet.stop();
    assert_eq!(quiet.log(), "");
    let mut formatted = start(&["-l", "info", "--log-format", "<%l> %n: %v"]);
    formatted.stop();
    let log = formatted.log();
    assert!(log.lines().any(|line| line.starts_with("<info> main: ")), "{log}");
    let component = start(&["-l", "error", "--component-log-level", "main:info"]);
    let log = component.log();
    assert!(log.contains("[info][main]") && !log.contains("[info][config]"), "{log}");
}
