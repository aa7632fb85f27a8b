//! HUP with a configuration that cannot be taken over: it is refused whole, with every reason.

use std::{collections::BTreeSet, fs, net::TcpListener};

use serde_json::json;
use underpass_tests::{
    Origin, Proxy, Start, WatchedFiles, With,
    client::{ask, first_words},
    config::{address, in_front_of, listener_at, tcp_proxy, to_up},
    eventually,
    mistake::GOOD,
    origin::dead_port,
    proxy::wait_refused,
    resources::LISTENER,
};

/// The errors of a text, without their lines.
fn errors(said: &str) -> BTreeSet<String> {
    said.lines().filter_map(|line| Some(line.split_once(": error: ")?.1.to_owned())).collect()
}

#[test]
fn what_validating_says_is_what_a_signal_gets() {
    let proxy = Proxy::start(GOOD);
    for (instead_of, write) in [
        ("type: STATIC", "type: STATICC"),
        ("stat_prefix: outer", "stat_prefix: \"\""),
        ("cluster: to_inner", "cluster: to_inner\n          tunneling_config: {}"),
        ("tcp_proxy.v3.TcpProxy", "no_such.v3.Filter"),
        ("- name: up", "- name: to_inner"),
        ("internal_listener: {}", "internal_listener: {}\n    address: {pipe: {path: x}}"),
        ("passthrough_metadata: []", "passthrough_metadata: [{name: x}]"),
        ("bootstrap_extensions:", "cluster_manager: {local_cluster_name: nobody}\nbootstrap_extensions:"),
    ] {
        let wrong = GOOD.replacen(instead_of, write, 1);
        let output = Start::new(wrong.clone()).arguments(["--mode", "validate"]).run();
        assert_eq!(output.status.code(), Some(1), "{write}");
        let expected = errors(&String::from_utf8_lossy(&output.stderr));
        let mut said = errors(&proxy.reload_in_vain(wrong));
        // That something cannot change is known to the process alone.
        said.retain(|error| !error.ends_with("it cannot change without a restart"));
        assert!(!expected.is_empty(), "{write}");
        assert_eq!(said, expected, "{write}");
    }
    proxy.reload(GOOD);
}

#[test]
fn a_file_with_errors_is_refused_whole_and_every_error_is_said() {
    let echo = Origin::echo();
    let good = in_front_of(&echo, [to_up("entry")]);
    let proxy = Proxy::start(good.clone());
    let at = proxy.listener("entry");
    let said = proxy.reload_in_vain(
        "node: {id: other}\nstatic_resources:\n  clusters:\n  - {name: new, type: STATICC}\n  listeners:\n  - {name: l, adress: x}\n",
    );
    // What cannot be read hides what would be found later.
    for expected in [
        "config.yaml:5:23: error: static_resources.clusters[0].type",
        "config.yaml:7:15: error: static_resources.listeners[0].adress",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    let said =
        proxy.reload_in_vain(good.clone().with(json!({ "node": { "id": "other" }, "static_resources": {
            "clusters": [{ "name": "new", "type": "EDS" }],
            "listeners": [to_up("entry"), { "name": "broken", "address": address("127.0.0.1", 0) }] } })));
    let expected = [
        "error: node: was not there at the start; it cannot change without a restart",
        "error: static_resources.clusters[0].eds_cluster_config: cannot create an EDS cluster without an EDS config",
        "error: static_resources.listeners[1]: error adding listener '127.0.0.1:0': no filter chains specified",
    ];
    for expected in expected {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    assert!(proxy.reload_in_vain("static_resources: [").contains("config.yaml:"));
    assert!(proxy.reload_in_vain("").contains("admin") || proxy.log().contains("restart"), "{}", proxy.log());
    fs::remove_file(proxy.path("config.yaml")).unwrap();
    proxy.signal("HUP");
    proxy.admin().wait_stat("server.config_reload_failure", 5);
    assert_eq!(proxy.admin().stat("server.config_last_reload_successful"), 0);
    assert_eq!(first_words(at, 5), "hello", "all is as it was");
    assert_eq!(proxy.admin().stat("cluster_manager.cluster_added"), 1);
    proxy.reload(good);
    assert_eq!(proxy.admin().stat("server.config_last_reload_successful"), 1);
}

#[test]
fn an_address_that_is_not_to_be_had_refuses_the_whole_file() {
    let echo = Origin::echo();
    let proxy = Proxy::start(in_front_of(&echo, [to_up("entry")]));
    let blocked = TcpListener::bind("127.0.0.1:0").unwrap();
    let blocked_port = blocked.local_addr().unwrap().port();
    let two = [
        listener_at("blocked", address("127.0.0.1", blocked_port), [tcp_proxy("blocked", "up")]),
        to_up("free"),
    ];
    let said = proxy.reload_in_vain(in_front_of(&echo, [vec![to_up("entry")], two.to_vec()].concat()));
    let expected = format!("cannot bind '127.0.0.1:{blocked_port}': Address already in use");
    assert!(said.contains("static_resources.listeners[1].address") && said.contains(&expected), "{said}");
    assert_eq!(proxy.admin().stat("listener_manager.listener_added"), 1);
    assert!(proxy.addresses("free").is_empty());
}

#[test]
fn an_address_that_a_watched_file_has_given_away_refuses_the_file() {
    let (echo, files) = (Origin::echo(), WatchedFiles::new());
    let at = |name: &str, port: u16| listener_at(name, address("127.0.0.1", port), [tcp_proxy(name, "up")]);
    let taken = dead_port();
    files.publish("lds.yaml", LISTENER, &[at("theirs", taken)]);
    let dynamic = json!({ "dynamic_resources": { "lds_config": files.source("lds.yaml") } });
    let proxy = Proxy::start(in_front_of(&echo, []).with(dynamic.clone()));
    let said = proxy.reload_in_vain(in_front_of(&echo, [at("mine", taken)]).with(dynamic));
    assert!(
        said.contains(
            "error: static_resources.listeners[0]: error adding listener: 'mine' has duplicate address"
        ),
        "{said}"
    );
    assert_eq!(first_words(proxy.listener("theirs"), 5), "hello");
}

#[test]
fn a_process_that_ends_reads_nothing_any_more() {
    let echo = Origin::echo();
    let drains = json!({ "layered_runtime": { "layers": [
        { "name": "static", "static_layer": { "underpass.features.drain_on_term": true } }] } });
    let config = in_front_of(&echo, [to_up("entry")]).with(drains);
    let mut proxy = Start::new(config).arguments(["--drain-time-s", "60"]).start();
    let (at, mut client) = (proxy.listener("entry"), proxy.connect("entry"));
    assert_eq!(ask(&mut client, "open"), "open");
    proxy.signal("TERM");
    wait_refused(at);
    proxy.signal("HUP");
    eventually("it says so", || proxy.log().contains("the process is ending, so nothing is read again"));
    assert_eq!(ask(&mut client, "still"), "still");
    assert_eq!(proxy.admin().stat("server.config_reload_failure"), 0);
    drop(client);
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn listeners_that_were_stopped_keep_the_file_from_being_read() {
    let echo = Origin::echo();
    let config = in_front_of(&echo, [to_up("entry")]);
    let proxy = Proxy::start(config.clone());
    let at = proxy.listener("entry");
    proxy.admin().post("/drain_listeners");
    wait_refused(at);
    let said = proxy.reload_in_vain(config);
    assert!(said.contains("listeners were stopped (/drain_listeners)"), "{said}");
}
