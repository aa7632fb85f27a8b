//! Wrong configurations are refused: exit code 1 at start and with `--mode validate`, and a message that names what is
//! wrong and points to its line and column.

use std::net::TcpListener;

use underpass_tests::{
    Start,
    mistake::{GOOD, Mistake, outcome},
};

#[test]
fn correct_configuration_is_accepted() {
    let (code, said) = outcome(GOOD, "validate");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("configuration 'config.yaml' OK\n"), "{said}");
}

#[track_caller]
fn refuse(mistakes: &[Mistake]) {
    mistakes.iter().for_each(Mistake::assert_refused);
}

#[test]
fn unknown_fields_values_and_types_are_named() {
    refuse(&[
        Mistake {
            instead_of: "cluster: to_inner\n",
            write: "cluster: to_inner\n          §no_such_field: 1\n",
            names: &["no_such_field"],
        },
        Mistake { instead_of: "type: STATIC", write: "type: §STATICC", names: &["STATICC"] },
        Mistake {
            instead_of: "\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            write: "\"@type\": §type.googleapis.com/foo.v3.Bar",
            names: &["foo.v3.Bar"],
        },
        Mistake { instead_of: "port_value: 1}", write: "port_value: §one}", names: &["one"] },
        Mistake { instead_of: "port_value: 1}", write: "port_value: §70000}", names: &[] },
        Mistake {
            instead_of: "listeners:\n",
            write: "§listenerz: []\n  listeners:\n",
            names: &["listenerz"],
        },
    ]);
}

#[test]
fn wrong_durations_are_named() {
    refuse(&[
        Mistake { instead_of: "connect_timeout: 5s", write: "connect_timeout: §1x", names: &["duration"] },
        Mistake { instead_of: "connect_timeout: 5s", write: "connect_timeout: §5", names: &[] },
        Mistake { instead_of: "connect_timeout: 5s", write: "connect_timeout: §-1s", names: &["duration"] },
    ]);
}

#[test]
fn missing_and_out_of_range_fields_are_named() {
    refuse(&[
        Mistake { instead_of: "stat_prefix: outer", write: "stat_prefix: §\"\"", names: &[] },
        Mistake { instead_of: "          cluster: to_inner\n", write: "", names: &["cluster_specifier"] },
        Mistake {
            instead_of: "internal_listener.v3.InternalListener\n",
            write: "internal_listener.v3.InternalListener\n    buffer_size_kb: §0\n",
            names: &["[1, 8192]"],
        },
        Mistake {
            instead_of: "internal_listener.v3.InternalListener\n",
            write: "internal_listener.v3.InternalListener\n    buffer_size_kb: §8193\n",
            names: &["[1, 8192]"],
        },
    ]);
}

#[test]
fn transport_that_hands_over_without_a_name_or_an_inner_socket_is_refused() {
    refuse(&[
        Mistake {
            instead_of: "passthrough_metadata: []",
            write: "passthrough_metadata: [§{kind: {host: {}}}]",
            names: &[],
        },
        Mistake {
            instead_of: "        passthrough_metadata: []\n        transport_socket:\n          name: raw\n          typed_config:\n            \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer\n",
            write: "        passthrough_metadata: []\n",
            names: &[],
        },
        Mistake {
            instead_of: "passthrough_metadata: []",
            write: "§passthrough_filter_state_objects: []",
            names: &["passthrough_filter_state_objects"],
        },
    ]);
}

#[test]
fn internal_listener_without_the_bootstrap_extension_is_refused() {
    refuse(&[Mistake {
        instead_of: "bootstrap_extensions:\n- name: internal\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener\n",
        write: "",
        names: &["'inner'", "InternalListener bootstrap extension is mandatory"],
    }]);
}

/// A field of the internal listener that does not go with it.
const fn on_internal(write: &'static str, names: &'static [&'static str]) -> Mistake {
    Mistake { instead_of: "    internal_listener: {}\n", write, names }
}

#[test]
fn internal_listener_with_an_address_is_refused() {
    let names = &["'inner'", "address should not be used when an internal listener config is provided"];
    refuse(&[
        on_internal(
            "    internal_listener: {}\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n",
            names,
        ),
        on_internal(
            "    internal_listener: {}\n    additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 0}}}]\n",
            names,
        ),
    ]);
}

#[test]
fn internal_listener_with_tcp_features_is_refused() {
    let tcp = &["'inner'", "has unsupported tcp listener feature"];
    refuse(&[
        on_internal("    internal_listener: {}\n    freebind: true\n", tcp),
        on_internal("    internal_listener: {}\n    transparent: true\n", tcp),
        on_internal("    internal_listener: {}\n    tcp_backlog_size: 10\n", tcp),
        on_internal("    internal_listener: {}\n    tcp_fast_open_queue_length: 10\n", tcp),
        on_internal("    internal_listener: {}\n    enable_reuse_port: true\n", tcp),
        on_internal("    internal_listener: {}\n    connection_balance_config: {exact_balance: {}}\n", tcp),
        on_internal(
            "    internal_listener: {}\n    socket_options: [{level: 6, name: 1, int_value: 1}]\n",
            &["'inner'", "does not support socket option"],
        ),
        on_internal(
            "    internal_listener: {}\n    enable_mptcp: true\n",
            &["inner", "enable_mptcp can only be used with IP addresses"],
        ),
    ]);
}

#[test]
fn filter_chains_that_cannot_work_are_refused() {
    refuse(&[
        // No filter ends the chain, or one stands behind the one that does.
        Mistake {
            instead_of: "      - name: tcp\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n          stat_prefix: outer\n          cluster: to_inner\n",
            write: "      - name: limit\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit\n          stat_prefix: limit\n          max_connections: 1\n",
            names: &[
                "non-terminal filter named limit of type envoy.filters.network.connection_limit is the last filter in a network filter chain",
            ],
        },
        Mistake {
            instead_of: "          cluster: to_inner\n",
            write: "          cluster: to_inner\n      - name: echo\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo\n",
            names: &[
                "terminal filter named tcp of type envoy.filters.network.tcp_proxy must be the last filter in a network filter chain",
            ],
        },
        // Two chains that match the same.
        Mistake {
            instead_of: "          cluster: to_inner\n",
            write: "          cluster: to_inner\n    - filters:\n      - name: echo\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo\n",
            names: &["has the same matching rules defined as"],
        },
    ]);
}

#[test]
fn clusters_that_cannot_work_are_refused() {
    refuse(&[
        Mistake {
            instead_of: "- name: up\n",
            write: "- name: to_inner\n",
            names: &["duplicate cluster 'to_inner'"],
        },
        Mistake { instead_of: "- name: up\n", write: "- name: \"\"\n", names: &["at least 1 character"] },
        Mistake {
            instead_of: "address: {address: 127.0.0.1, port_value: 1}",
            write: "address: {address: not.an.ip, port_value: 1}",
            names: &["not.an.ip"],
        },
    ]);
}

#[test]
fn unknown_operator_in_an_access_log_is_named() {
    refuse(&[Mistake {
        instead_of: "          cluster: to_inner\n",
        write: "          cluster: to_inner\n          access_log:\n          - name: log\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.access_loggers.stdout.v3.StdoutAccessLog\n              log_format: {text_format_source: {inline_string: \"%NO_SUCH_OPERATOR%\"}}\n",
        names: &[],
    }]);
}

#[test]
fn broken_yaml_is_located() {
    for mode in ["serve", "validate"] {
        let (code, said) = outcome("static_resources: [\n", mode);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("line 2, column 1") || said.contains("config.yaml:2:1"), "{said}");
    }
}

#[test]
fn duplicate_keys_are_refused() {
    let (code, said) = outcome("static_resources: {}\nstatic_resources: {}\n", "validate");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("static_resources"), "{said}");
}

#[test]
fn all_errors_of_a_file_come_in_one_report() {
    let config = GOOD
        .replacen("stat_prefix: outer", "stat_prefixx: outer", 1)
        .replacen("type: STATIC\n", "type: STATICC\n", 1)
        .replacen("connect_timeout: 5s", "connect_timeout: 5", 1)
        .replacen("stat_prefix: inner", "idle_timeout: soon\n          stat_prefix: inner", 1)
        .replacen("server_listener_name: inner", "server_name: inner", 1);
    for mode in ["serve", "validate"] {
        let (code, said) = outcome(&config, mode);
        assert_eq!(code, Some(1), "{said}");
        for (place, path, about) in [
            (
                "config.yaml:10:11",
                "static_resources.listeners[0].filter_chains[0].filters[0].typed_config",
                "stat_prefixx",
            ),
            (
                "config.yaml:19:25",
                "static_resources.listeners[1].filter_chains[0].filters[0].typed_config.idle_timeout",
                "soon",
            ),
            ("config.yaml:24:11", "static_resources.clusters[0].type", "STATICC"),
            (
                "config.yaml:29:57",
                "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.envoy_internal_address",
                "server_name",
            ),
            ("config.yaml:41:22", "static_resources.clusters[1].connect_timeout", "5"),
        ] {
            let line = said.lines().find(|line| line.starts_with(place));
            let line = line.unwrap_or_else(|| panic!("{mode}: nothing at {place}:\n{said}"));
            assert!(line.contains(path) && line.contains(about), "{line}");
        }
    }
}

#[test]
fn port_in_use_ends_the_start_but_not_the_check() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = GOOD.replacen("port_value: 0", &format!("port_value: {}", address.port()), 1);
    let (code, said) = outcome(&config, "serve");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot bind '{address}': Address already in use")), "{said}");
    assert!(said.contains("'outer'"), "{said}");
    assert_eq!(outcome(&config, "validate").0, Some(0));
}

#[test]
fn unknown_fields_are_warnings_if_that_is_asked_for() {
    let config = GOOD.replacen("cluster: to_inner\n", "cluster: to_inner\n          no_such_field: 1\n", 1);
    let output = Start::new(config).arguments(["--mode", "validate", "--allow-unknown-static-fields"]).run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("no_such_field"), "{said}");
}
