//! Fields and values that a Rust type lacks.

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listener {
    name: String,
    enable_reuse_port: Option<bool>,
    traffic_direction: Direction,
    filter_chains: Vec<FilterChain>,
}

#[derive(Debug, Default, Deserialize)]
enum Direction {
    #[default]
    #[serde(rename = "UNSPECIFIED")]
    Unspecified,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilterChain {
    name: String,
}

const LISTENER: &str = "envoy.config.listener.v3.Listener";

#[test]
fn what_envoy_knows_and_this_proxy_lacks_is_told_from_what_nobody_knows() {
    let report = try_read::<Listener>(
        LISTENER,
        "name: l
nmae: l
nonsense: 1
udp_listener_config: {}
traffic_direction: INBOUND
enableReusePort: perhaps
filter_chains:
- name: c
  useProxyProto: true
  nonsense: true
- transport_socket_connect_timeout: 1s
",
    );
    insta::assert_snapshot!(report.unwrap_err(), @r#"
    f.yaml:2:1: error: nmae: unknown field "nmae"; did you mean `name`?
    f.yaml:3:1: error: nonsense: unknown field "nonsense"; known: name, enable_reuse_port, traffic_direction, filter_chains
    f.yaml:4:1: error: udp_listener_config: Envoy knows this field, Underpass does not implement it yet
    f.yaml:5:20: error: traffic_direction: Envoy knows the value `INBOUND`, Underpass does not implement it yet; it implements: UNSPECIFIED
    f.yaml:6:18: error: enable_reuse_port: expected true or false, not `perhaps`
    f.yaml:9:3: error: filter_chains[0].use_proxy_proto: Envoy knows this field, Underpass does not implement it yet
    f.yaml:10:3: error: filter_chains[0].nonsense: unknown field "nonsense"; known: name
    f.yaml:11:3: error: filter_chains[1].transport_socket_connect_timeout: Envoy knows this field, Underpass does not implement it yet
    "#);
}

#[test]
fn what_envoy_knows_is_accepted_where_it_says_nothing() {
    let (_, warnings) =
        try_read::<Listener>(LISTENER, "{bind_to_port: null, freebind: null, reuse_port: false, listener_filters: [], filter_chains: [{metadata: null}]}")
            .unwrap();
    assert_eq!(warnings, "");
    // A wrapper, a message and a member of a oneof tell "absent" from "empty".
    let report =
        try_read::<Listener>(LISTENER, "{freebind: false, metadata: {}, internal_listener: {}}").unwrap_err();
    insta::assert_snapshot!(report, @"
    f.yaml:1:2: error: freebind: Envoy knows this field, Underpass does not implement it yet
    f.yaml:1:19: error: metadata: Envoy knows this field, Underpass does not implement it yet
    f.yaml:1:33: error: internal_listener: Envoy knows this field, Underpass does not implement it yet
    ");
}

#[test]
fn harmless_fields_and_a_switch_make_warnings() {
    let (_, warnings) = try_read::<Listener>(LISTENER, "{stat_prefix: x}").unwrap();
    insta::assert_snapshot!(warnings, @"f.yaml:1:2: warning: stat_prefix: Envoy knows this field, Underpass does not implement it yet; it is ignored");

    let document = parse_yaml("f.yaml", "{freebind: true, nonsense: 1}").unwrap();
    let extensions = ExtensionSet::default();
    let reader = Reader::new(&extensions).allow_unknown_fields(true);
    assert!(reader.read::<Listener>(&document.root, ConfigPath::root(), LISTENER).is_some());
    insta::assert_snapshot!(reader.into_report(), @r#"
    f.yaml:1:2: warning: freebind: Envoy knows this field, Underpass does not implement it yet; it is ignored
    f.yaml:1:18: warning: nonsense: unknown field "nonsense"; known: name, enable_reuse_port, traffic_direction, filter_chains; it is ignored
    "#);
}

#[test]
fn a_thousand_listeners_take_milliseconds_to_read() {
    let listener = "- {name: l, filter_chains: [{name: a}, {name: b}], enable_reuse_port: true}\n";
    let document = parse_yaml("f.yaml", &listener.repeat(1000)).unwrap();
    let broken = parse_yaml("f.yaml", &listener.repeat(1000).replace("name: a", "name: []")).unwrap();
    let extensions = ExtensionSet::default();
    let reader = Reader::new(&extensions);
    let started = std::time::Instant::now();
    assert!(reader.read::<Vec<Listener>>(&document.root, ConfigPath::root(), LISTENER).is_some());
    assert!(reader.read::<Vec<Listener>>(&broken.root, ConfigPath::root(), LISTENER).is_none());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(reader.into_report().diagnostics().len(), 1000);
}
