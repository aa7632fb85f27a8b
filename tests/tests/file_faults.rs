//! Files of configuration that are broken, half written, huge or gone; and `--mode validate`, which reads them too.

use std::{fs, io::Write as _, path::Path};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Start, WatchedFiles, With,
    binary::{same_as_envoy, underpass},
    client::{ask, connect, first_words},
    config::{bootstrap, cluster, listener, port, tcp_proxy},
    eventually,
    resources::{
        CLUSTER, ENDPOINTS, LISTENER, ROUTES, eds_cluster, endpoints, hcm_with_routes_from, routes_to,
    },
};

#[test]
fn broken_files_leave_the_last_good_one_in_use_as_in_envoy() {
    same_as_envoy(|binary| {
        let (echo, other, files) = (Origin::echo(), Origin::speak_first("other"), WatchedFiles::new());
        let up = |origin: &Origin| cluster("up", [port(origin.port())]);
        files.publish("cds.yaml", CLUSTER, &[up(&echo)]);
        let dynamic = json!({ "node": { "id": "id", "cluster": "cluster" },
            "dynamic_resources": { "cds_config": files.source("cds.yaml") } });
        let config = bootstrap([listener("entry", [tcp_proxy("entry", "up")])], []).with(dynamic);
        let proxy = Start::new(config).binary(binary).start();
        let at = proxy.listener("entry");
        let mut stream = connect(at);
        let mut seen = vec![ask(&mut stream, "before")];
        let counted = |what: &str| proxy.admin().stat(&format!("cluster_manager.cds.update_{what}"));

        let whole = files.response(CLUSTER, &[up(&other)]);
        files.replace("cds.yaml", &whole[..whole.len() / 2]);
        proxy.admin().wait_stat("cluster_manager.cds.update_failure", 1);
        seen.push(first_words(at, 5));
        files.replace("cds.yaml", "{\"resources\": 7}");
        eventually("it is refused", || counted("failure") + counted("rejected") == 2);
        seen.push(first_words(at, 5));
        // Nothing is there for a while.
        fs::remove_file(files.path("cds.yaml")).unwrap();
        seen.push(first_words(at, 5));
        files.publish("cds.yaml", CLUSTER, &[up(&other), up(&echo)]);
        eventually("a name that is there twice is refused", || counted("rejected") >= 1);
        eventually("the first one of them is taken", || first_words(at, 5) == "other");
        seen.push(ask(&mut stream, "after"));
        seen
    });
}

#[test]
fn an_empty_file_and_one_that_is_written_in_two_steps_lose_nothing() {
    let (echo, files) = (Origin::echo(), WatchedFiles::new());
    let with = |name: &str| listener(name, [tcp_proxy(name, "up")]);
    files.publish("lds.yaml", LISTENER, &[with("a")]);
    let config = bootstrap([], [cluster("up", [port(echo.port())])])
        .with(json!({ "dynamic_resources": { "lds_config": files.source("lds.yaml") } }));
    let proxy = Start::new(config).start();
    let mut stream = proxy.connect("a");
    assert_eq!(ask(&mut stream, "one"), "one");
    fs::write(files.path("lds.yaml"), "").unwrap();
    eventually("it is noticed", || proxy.admin().stat("listener_manager.lds.update_failure") >= 1);
    assert_eq!(ask(&mut proxy.connect("a"), "new"), "new");
    // An editor that saves in two steps, with something in between that makes the proxy look.
    let whole = files.response(LISTENER, &[with("a"), with("b")]);
    let (first, rest) = whole.split_at(whole.len() / 2);
    let mut file = fs::File::create(files.path("lds.yaml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    let failures = proxy.admin().stat("listener_manager.lds.update_failure");
    fs::File::open(files.path("lds.yaml")).unwrap();
    fs::OpenOptions::new().append(true).open(files.path("lds.yaml")).unwrap();
    eventually("the half is read", || proxy.admin().stat("listener_manager.lds.update_failure") > failures);
    assert_eq!(ask(&mut stream, "two"), "two");
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    eventually("the whole is read", || !proxy.addresses("b").is_empty());
    assert_eq!(ask(&mut stream, "three"), "three");
    assert_eq!(proxy.admin().stat("listener_manager.listener_removed"), 0);
}

#[test]
fn ten_megabytes_are_taken_over_while_streams_go_on() {
    let (echo, files) = (Origin::echo(), WatchedFiles::new());
    let padding = "x".repeat(20_000);
    let many = |count: usize| -> Vec<Value> {
        let one = |number: usize| {
            let name = if number == 0 { "up".to_owned() } else { format!("more{number}") };
            cluster(&name, [port(echo.port())]).with(json!({ "metadata": { "filter_metadata": {
                "note": { "text": if number == 0 { "" } else { &padding } } } } }))
        };
        (0..=count).map(one).collect()
    };
    files.publish("cds.yaml", CLUSTER, &many(0));
    let config = bootstrap([listener("entry", [tcp_proxy("entry", "up")])], [])
        .with(json!({ "dynamic_resources": { "cds_config": files.source("cds.yaml") } }));
    let proxy = Start::new(config).start();
    let mut stream = proxy.connect("entry");
    assert_eq!(ask(&mut stream, "before"), "before");
    let text = files.response(CLUSTER, &many(520));
    assert!(text.len() > 10 * 1024 * 1024);
    files.replace("cds.yaml", &text);
    assert_eq!(ask(&mut stream, "meanwhile"), "meanwhile");
    proxy.admin().wait_stat("cluster_manager.active_clusters", 521);
    assert_eq!(ask(&mut stream, "after"), "after");
    files.publish("cds.yaml", CLUSTER, &many(0));
    proxy.admin().wait_stat("cluster_manager.active_clusters", 1);
    assert_eq!(ask(&mut stream, "still"), "still");
}

#[test]
fn routes_of_a_source_may_name_clusters_that_come_later_unless_they_say_otherwise() {
    let seen = same_as_envoy(|binary| {
        let files = WatchedFiles::new();
        let routes = |validate: Value, to: &str| routes_to("r", to).with(validate);
        files.publish("rds.yaml", ROUTES, &[routes(json!({}), "absent")]);
        let manager = hcm_with_routes_from("r", &files.source("rds.yaml"));
        let config = bootstrap([listener("entry", [manager])], [cluster("there", [port(1)])]);
        let proxy =
            Start::new(config.with(json!({ "node": { "id": "id", "cluster": "c" } }))).binary(binary).start();
        let stats = || {
            ["config_reload", "update_success", "update_rejected"]
                .map(|name| proxy.admin().stat(&format!("http.http.rds.r.{name}")))
        };
        let mut seen = vec![format!("{:?}", stats())];
        files.publish("rds.yaml", ROUTES, &[routes(json!({ "validate_clusters": true }), "absent")]);
        proxy.admin().wait_stat("http.http.rds.r.update_attempt", 3 - 1);
        eventually("there is an answer", || stats()[1] + stats()[2] == 2);
        seen.push(format!("{:?}", stats()));
        let said = proxy.log().contains("route: unknown cluster 'absent'");
        seen.push(format!("said: {said}"));
        files.publish("rds.yaml", ROUTES, &[routes(json!({ "validate_clusters": true }), "there")]);
        eventually("there is an answer", || stats()[1] + stats()[2] == 3);
        seen.push(format!("{:?}", stats()));
        seen
    });
    assert_eq!(seen, ["[1, 1, 0]", "[1, 1, 1]", "said: true", "[2, 2, 1]"]);
}

/// A configuration all of whose parts come from files, in front of nothing.
fn from_files(files: &WatchedFiles) -> Value {
    bootstrap([], []).with(json!({ "node": { "id": "id", "cluster": "cluster" }, "dynamic_resources": {
        "lds_config": files.source("lds.yaml"), "cds_config": files.source("cds.yaml") } }))
}

fn validate(files: &WatchedFiles, config: &Value, binary: &Path) -> (Option<i32>, String, String) {
    let output =
        Start::new(config.clone()).binary(binary).arguments(["--mode", "validate", "-l", "warning"]).run();
    (output.status.code(), files.shorten(&output.stdout), files.shorten(&output.stderr))
}

#[test]
fn validating_reads_the_files_that_are_watched_and_what_they_name() {
    let files = WatchedFiles::new();
    let manager = hcm_with_routes_from("r", &files.source("rds.yaml"));
    files.publish("lds.yaml", LISTENER, &[listener("entry", [manager])]);
    files.publish("cds.yaml", CLUSTER, &[eds_cluster("up", &files.source("eds.yaml"))]);
    files.publish("eds.yaml", ENDPOINTS, &[endpoints("up", &port(1))]);
    files.publish("rds.yaml", ROUTES, &[routes_to("r", "up")]);
    let config = from_files(&files);
    let (code, out, said) = validate(&files, &config, underpass());
    assert_eq!((code, out.contains("OK"), said.as_str()), (Some(0), true, ""), "{out}");

    files.replace("rds.yaml", "resources:\n- '@type': x/envoy.config.route.v3.RouteConfiguration\n  name: r\n  virtual_hosts: [{name: v}]\n");
    files.replace("eds.yaml", "resources:\n- '@type': x/envoy.config.endpoint.v3.ClusterLoadAssignment\n  cluster_name: up\n  endpointz: []\n");
    let (code, out, said) = validate(&files, &config, underpass());
    assert_eq!((code, out.contains("OK")), (Some(0), true), "as Envoy: the process would start");
    for expected in [
        "rds.yaml:4:19: error: resources[0].virtual_hosts[0]: `domains` is missing",
        "eds.yaml:4:3: warning: resources[0].endpointz",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    files.replace("cds.yaml", "resources: [");
    files.replace("lds.yaml", "resources:\n- '@type': x/envoy.config.listener.v3.Listener\n  name: entry\n");
    let (code, _, said) = validate(&files, &config, underpass());
    assert_eq!(code, Some(0));
    for expected in ["cds.yaml:2:1: error", "lds.yaml:2:3: error: resources[0]"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
}

#[test]
fn validating_files_that_are_broken_or_absent_ends_as_in_envoy() {
    same_as_envoy(|binary| {
        let files = WatchedFiles::new();
        let config = from_files(&files);
        let mut seen = Vec::new();
        let mut note = |what: &str| {
            let (code, out, _) = validate(&files, &config, binary);
            seen.push(format!("{what}: {code:?} {}", out.contains("OK")));
        };
        note("absent");
        files.replace("lds.yaml", "{a: [");
        note("one is absent");
        files.replace("cds.yaml", "{a: [");
        note("broken");
        files.publish("lds.yaml", LISTENER, &[json!({ "name": "no address" })]);
        files.publish("cds.yaml", CLUSTER, &[json!({ "name": "bad", "type": "EDS" })]);
        note("wrong");
        seen
    });
}
