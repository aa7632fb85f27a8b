//! HUP: the configuration file is read again while traffic flows.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, Start, WatchedFiles, With,
    client::{ask, connect, first_words},
    config::{
        address, bootstrap, cluster, hops, in_front_of, listener, listener_at, pipe, port, tcp_proxy, to_up,
    },
    control_plane::{control_plane_cluster, own_stream},
    eventually,
    http_config::hcm,
    proxy::wait_refused,
    resources::{CLUSTER, LISTENER, eds_cluster},
};

/// An entry of `/config_dump` about a static listener.
fn dumped(proxy: &Proxy, listener: &str) -> Value {
    let dump = proxy.admin().json("/config_dump?resource=static_listeners");
    let all = dump["configs"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|it| it["listener"]["name"] == listener).unwrap_or_default()
}

fn bootstrap_dump(proxy: &Proxy) -> Value {
    let dump = proxy.admin().json("/config_dump");
    let sections = dump["configs"].as_array().cloned().unwrap_or_default();
    let is_it = |it: &Value| it["@type"].as_str().is_some_and(|name| name.ends_with(".BootstrapConfigDump"));
    sections.into_iter().find(is_it).unwrap_or_default()
}

#[test]
fn what_differs_is_taken_over_and_the_rest_goes_on() {
    let (echo, other) = (Origin::echo(), Origin::speak_first("other"));
    let config = in_front_of(&echo, [to_up("stays"), to_up("changes"), to_up("goes")]);
    let proxy = Start::new(config).arguments(["--drain-time-s", "1"]).start();
    let [stays, changes, goes] = ["stays", "changes", "goes"].map(|name| proxy.listener(name));
    let mut client = connect(stays);
    assert_eq!(ask(&mut client, "before"), "before");
    let unchanged = dumped(&proxy, "stays");
    let bootstrap_before = bootstrap_dump(&proxy);

    let next = bootstrap(
        [to_up("stays"), listener("changes", [tcp_proxy("changes", "new")]), to_up("comes")],
        [cluster("up", [port(echo.port())]), cluster("new", [port(other.port())])],
    );
    proxy.reload(next);
    assert_eq!(first_words(changes, 5), "other", "in place: at the same port");
    assert_eq!(first_words(proxy.listener("comes"), 5), "hello");
    wait_refused(goes);
    assert_eq!(ask(&mut client, "after"), "after");
    assert_eq!(dumped(&proxy, "stays"), unchanged);
    assert_ne!(dumped(&proxy, "changes")["last_updated"], unchanged["last_updated"]);
    let bootstrap_now = bootstrap_dump(&proxy);
    assert_ne!(bootstrap_now["last_updated"], bootstrap_before["last_updated"]);
    assert!(bootstrap_now.to_string().contains("comes"), "the file as it is in use now");

    let stats = proxy.admin().stats();
    let expected = [
        ("listener_manager.listener_added", 4),
        ("listener_manager.listener_in_place_updated", 1),
        ("listener_manager.listener_removed", 1),
        ("cluster_manager.cluster_added", 2),
        ("cluster_manager.cluster_modified", 0),
        ("tcp.stays.downstream_cx_total", 1),
        ("server.config_reload_success", 1),
        ("server.config_reload_failure", 0),
    ];
    for (name, value) in expected {
        assert_eq!(stats.get(name), Some(&value), "{name}");
    }
    assert!(stats["server.config_reload_time_ms"] > 1_600_000_000_000);
    proxy.admin().wait_stat("listener_manager.total_listeners_draining", 0);
}

#[test]
fn a_file_that_says_the_same_changes_nothing() {
    let echo = Origin::echo();
    let nameless = listener("", [tcp_proxy("nameless", "up")]);
    let config = in_front_of(&echo, [to_up("entry"), nameless]);
    let proxy = Proxy::start(config.clone());
    let listeners = proxy.admin().get("/listeners");
    let mut client = proxy.connect("entry");
    assert_eq!(ask(&mut client, "one"), "one");
    proxy.reload(config);
    assert_eq!(ask(&mut client, "two"), "two");
    assert_eq!(proxy.admin().get("/listeners"), listeners, "the one without a name, too");
    let stats = proxy.admin().stats();
    for (name, value) in [("added", 2), ("modified", 0), ("removed", 0)] {
        assert_eq!(stats[&format!("listener_manager.listener_{name}")], value, "{name}");
    }
}

#[test]
fn a_renamed_listener_takes_over_the_address_and_two_can_swap_theirs() {
    let (echo, other) = (Origin::echo(), Origin::speak_first("other"));
    let clusters = || [cluster("up", [port(echo.port())]), cluster("other", [port(other.port())])];
    // Two at once, or they might be one.
    let [first, second] = [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
        .map(|listener| listener.local_addr().unwrap().port());
    let at = |name: &str, port: u16, to: &str| {
        listener_at(name, address("127.0.0.1", port), [tcp_proxy(name, to)])
    };
    let by_path = |name: &str, to: &str| listener_at(name, pipe("DIR/socket"), [tcp_proxy(name, to)]);
    let proxy = Start::new(bootstrap(
        [at("a", first, "up"), at("b", second, "other"), by_path("p", "up")],
        clusters(),
    ))
    .arguments(["--drain-time-s", "1"])
    .start();
    let [first, second] = [first, second].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!((first_words(first, 5), first_words(second, 5)), ("hello".to_owned(), "other".to_owned()));
    // The port of one becomes that of the other; the pipe, which only one can have, goes to one of a new name.
    let swapped = [at("a", second.port(), "up"), at("b", first.port(), "other"), by_path("renamed", "up")];
    proxy.reload(bootstrap(swapped, clusters()));
    eventually("each serves at the other's port", || {
        first_words(first, 5) == "other" && first_words(second, 5) == "hello"
    });
    let mut client = std::os::unix::net::UnixStream::connect(proxy.path("socket")).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut client, &mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn hops_that_are_removed_let_their_connections_end_in_their_own_time() {
    let echo = Origin::echo();
    let proxy = Start::new(hops(3, echo.port())).arguments(["--drain-time-s", "60"]).start();
    let mut client = proxy.connect("hop0");
    assert_eq!(ask(&mut client, "one"), "one");
    proxy.reload(in_front_of(&echo, [to_up("other")]));
    assert_eq!(ask(&mut client, "two"), "two");
    assert_eq!(proxy.admin().stat("listener_manager.total_listeners_draining"), 4);
    assert!(proxy.admin().get("/clusters").contains("to_hop1"), "what drains may still need it");
    assert_eq!(first_words(proxy.listener("other"), 5), "hello");
}

#[test]
fn several_signals_in_a_row_end_with_the_last_file() {
    let echo = Origin::echo();
    let with = |name: &str| in_front_of(&echo, [to_up("entry"), to_up(name)]);
    let proxy = Start::new(with("l0")).arguments(["--drain-time-s", "1"]).start();
    let mut client = proxy.connect("entry");
    for number in 1..=20 {
        proxy.rewrite(with(&format!("l{number}")));
        proxy.signal("HUP");
    }
    eventually("the last file is in use", || !proxy.addresses("l20").is_empty());
    proxy.admin().wait_stat("listener_manager.total_listeners_active", 2);
    proxy.admin().wait_stat("listener_manager.total_listeners_draining", 0);
    assert_eq!(ask(&mut client, "still"), "still");
    assert_eq!(proxy.admin().stat("server.config_reload_failure"), 0);
}

/// A source that never answers: its control plane accepts connections and is silent.
fn silent_source() -> Value {
    own_stream("GRPC").with(json!({ "initial_fetch_timeout": "0s" }))
}

/// Without it nobody is subscribed to.
fn node() -> Value {
    json!({ "node": { "id": "id", "cluster": "cluster" } })
}

/// A cluster whose endpoints never come.
fn warms_for_ever(name: &str) -> Value {
    eds_cluster(name, &silent_source())
}

#[test]
fn a_file_whose_clusters_have_no_hosts_yet_waits_and_the_next_one_takes_its_place() {
    let (echo, plane) = (Origin::echo(), Origin::stalled());
    let with = |listeners: Vec<Value>, more: Vec<Value>| {
        let fixed = [cluster("up", [port(echo.port())]), control_plane_cluster(plane.port())];
        bootstrap(listeners, fixed.into_iter().chain(more)).with(node())
    };
    let pipe_listener = |name: &str| listener_at(name, pipe("DIR/socket"), [tcp_proxy(name, "up")]);
    let proxy = Proxy::start(with(vec![to_up("entry")], vec![]));
    let at = proxy.listener("entry");
    proxy.rewrite(with(
        vec![listener("entry", [tcp_proxy("entry", "slow")]), pipe_listener("p")],
        vec![warms_for_ever("slow")],
    ));
    proxy.signal("HUP");
    proxy.admin().wait_stat("cluster_manager.warming_clusters", 1);
    assert_eq!(first_words(at, 5), "hello", "listeners change when the clusters that they need are there");
    assert!(proxy.addresses("p").is_empty());
    // One that is refused meanwhile changes nothing of that.
    proxy.reload_in_vain("static_resources: [");
    assert_eq!(proxy.admin().stat("cluster_manager.warming_clusters"), 1);
    // The next one needs no such cluster; a socket that the first has opened is there for it.
    proxy.reload(with(vec![to_up("entry"), pipe_listener("p")], vec![]));
    proxy.admin().wait_stat("cluster_manager.warming_clusters", 0);
    assert_eq!(first_words(at, 5), "hello");
    assert!(std::os::unix::net::UnixStream::connect(proxy.path("socket")).is_ok());
}

#[test]
fn a_listener_that_waits_for_its_routes_leaves_the_one_before_in_its_place() {
    let (echo, plane) = (Origin::echo(), Origin::stalled());
    let with = |listeners: Vec<Value>| {
        let clusters = [cluster("up", [port(echo.port())]), control_plane_cluster(plane.port())];
        bootstrap(listeners, clusters).with(node())
    };
    let mut waits = hcm("h", []);
    let fields = waits["typed_config"].as_object_mut().unwrap();
    fields.remove("route_config");
    fields.insert("rds".to_owned(), json!({ "route_config_name": "r", "config_source": silent_source() }));
    let proxy = Proxy::start(with(vec![to_up("entry")]));
    let mut client = proxy.connect("entry");
    assert_eq!(ask(&mut client, "open"), "open");
    let descriptors = proxy.descriptors();
    proxy.reload(with(vec![listener("entry", [waits.clone()]), listener("comes", [waits])]));
    proxy.admin().wait_stat("listener_manager.total_listeners_warming", 2);
    assert_eq!(first_words(proxy.listener("entry"), 5), "hello", "it serves as before");
    // Back to what it was: nothing waits any more.
    proxy.reload(with(vec![to_up("entry")]));
    assert_eq!(proxy.admin().stat("listener_manager.total_listeners_warming"), 0);
    assert_eq!(ask(&mut client, "still"), "still");
    // The client's two are gone; those of an access log and of the control plane stay.
    drop(client);
    eventually("no socket is left of it", || proxy.descriptors() <= descriptors);
}

#[test]
fn a_signal_during_the_start_is_not_lost() {
    let (echo, plane) = (Origin::echo(), Origin::stalled());
    // The start waits for three seconds for endpoints that never come.
    let mut slow = warms_for_ever("slow");
    slow["eds_cluster_config"]["eds_config"]["initial_fetch_timeout"] = json!("3s");
    let with = |name: &str| {
        let clusters =
            [cluster("up", [port(echo.port())]), control_plane_cluster(plane.port()), slow.clone()];
        bootstrap([to_up(name)], clusters).with(node())
    };
    let signal_when_listening = |proxy: &Proxy| {
        assert_eq!(proxy.admin().stat("server.config_reload_success"), 0);
        proxy.rewrite(with("second"));
        proxy.signal("HUP");
    };
    let proxy = Start::new(with("first")).start_when(signal_when_listening);
    eventually("the second file is in use", || !proxy.addresses("second").is_empty());
    assert!(proxy.addresses("first").is_empty());
}

#[test]
fn the_file_wins_over_what_others_have_added_under_the_same_name() {
    let (echo, other) = (Origin::echo(), Origin::speak_first("other"));
    let files = WatchedFiles::new();
    let dynamic = node().with(json!({ "dynamic_resources": {
        "lds_config": files.source("lds.yaml"), "cds_config": files.source("cds.yaml") } }));
    files.publish("cds.yaml", CLUSTER, &[cluster("shared", [port(other.port())])]);
    files.publish(
        "lds.yaml",
        LISTENER,
        &[listener("shared", [tcp_proxy("shared", "shared")]), to_up("theirs")],
    );
    let up = || cluster("up", [port(echo.port())]);
    let proxy =
        Start::new(bootstrap([], [up()]).with(dynamic.clone())).arguments(["--drain-time-s", "1"]).start();
    let at = proxy.listener("shared");
    assert_eq!(first_words(at, 5), "other");
    let mut theirs = proxy.connect("theirs");

    let mine = [listener("shared", [tcp_proxy("shared", "shared")])];
    proxy.reload(bootstrap(mine, [up(), cluster("shared", [port(echo.port())])]).with(dynamic.clone()));
    assert_eq!(proxy.listener("shared"), at, "the listener says the same as before, so it stays");
    assert_eq!(first_words(at, 5), "hello");
    assert_eq!(dumped(&proxy, "shared")["listener"]["name"], "shared");
    files.publish(
        "lds.yaml",
        LISTENER,
        &[listener("shared", [tcp_proxy("shared", "nowhere")]), to_up("theirs")],
    );
    files.publish("cds.yaml", CLUSTER, &[cluster("shared", [port(1)])]);
    proxy.admin().wait_stat("listener_manager.lds.update_success", 2);
    proxy.admin().wait_stat("cluster_manager.cds.update_success", 2);
    assert_eq!(first_words(at, 5), "hello", "as at a start: what the file has is not changed by others");
    assert!(proxy.admin().get("/clusters").contains("shared::added_via_api::false"));

    // What the file gives up goes; others add it again with their next update.
    proxy.reload(bootstrap([], [up()]).with(dynamic));
    wait_refused(at);
    assert_eq!(ask(&mut theirs, "theirs"), "theirs", "what others have added stays");
    files.publish("lds.yaml", LISTENER, &[to_up("shared"), to_up("theirs")]);
    eventually("it is there again", || !proxy.addresses("shared").is_empty());
}

#[test]
fn runtime_layers_are_taken_over_and_what_operators_have_set_stays() {
    let layers = |value: u64| {
        json!({ "layered_runtime": { "layers": [
            { "name": "static", "static_layer": { "some": { "key": value }, "other": value } },
            { "name": "admin", "admin_layer": {} }] } })
    };
    let proxy = Proxy::start(bootstrap([], []).with(layers(1)));
    proxy.admin().post("/runtime_modify?other=7");
    proxy.reload(bootstrap([], []).with(layers(2)));
    let runtime = proxy.admin().json("/runtime");
    assert_eq!(runtime["entries"]["some.key"]["final_value"], "2");
    assert_eq!(runtime["entries"]["other"]["final_value"], "7");
}
