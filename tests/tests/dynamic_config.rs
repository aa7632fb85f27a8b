//! Configuration that comes from files and changes while traffic flows, beside Envoy where there is one.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    thread,
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, Start, WatchedFiles, With,
    binary::same_as_envoy,
    client::{ask, connect, first_words},
    config::{bootstrap, cluster, internal, internal_listener, listener, port, tcp_proxy},
    eventually,
    http_client::get,
    resources::{
        CLUSTER, ENDPOINTS, LISTENER, ROUTES, eds_cluster, endpoints, hcm_with_routes_from, routes_saying,
    },
};

/// A cluster whose endpoints are in `eds.yaml`.
fn cluster_of_service(files: &WatchedFiles, name: &str) -> Value {
    json!({ "name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {
        "service_name": "service", "eds_config": files.source("eds.yaml") } })
}

fn publish_endpoint(files: &WatchedFiles, to: &Origin) {
    files.publish("eds.yaml", ENDPOINTS, &[endpoints("service", &port(to.port()))]);
}

/// The counters of subscriptions and managers.
fn counted(proxy: &Proxy, prefixes: &[&str]) -> String {
    let is_wanted = |name: &str| {
        prefixes.iter().any(|prefix| name.starts_with(prefix))
            && !["_time", "_time_ms", "version", "warming"].iter().any(|end| name.contains(end))
    };
    let stats: BTreeMap<_, _> =
        proxy.admin().stats().into_iter().filter(|(name, _)| is_wanted(name)).collect();
    stats.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// Envoy subscribes to nothing without it.
fn node() -> Value {
    json!({ "id": "id", "cluster": "cluster" })
}

#[test]
fn clusters_and_their_endpoints_follow_their_files() {
    let seen = same_as_envoy(|binary| {
        let (echo, other, files) = (Origin::echo(), Origin::speak_first("other"), WatchedFiles::new());
        publish_endpoint(&files, &echo);
        files.publish("cds.yaml", CLUSTER, &[cluster_of_service(&files, "up"), cluster("more", [port(1)])]);
        let config = bootstrap([listener("entry", [tcp_proxy("entry", "up")])], [])
            .with(json!({ "node": node(), "dynamic_resources": { "cds_config": files.source("cds.yaml") } }));
        let proxy = Start::new(config).binary(binary).start();
        let at = proxy.listener("entry");
        let mut seen = vec![first_words(at, 5)];
        let mut old = connect(at);
        seen.push(ask(&mut old, "old"));

        publish_endpoint(&files, &other);
        proxy.admin().wait_stat("cluster.up.update_success", 2);
        seen.push(first_words(at, 5));
        seen.push(ask(&mut old, "still"));
        files.publish("eds.yaml", ENDPOINTS, &[json!({ "cluster_name": "wrong" })]);
        proxy.admin().wait_stat("cluster.up.update_rejected", 1);
        seen.push(first_words(at, 5));

        let changed = cluster_of_service(&files, "up").with(json!({ "connect_timeout": "2s" }));
        publish_endpoint(&files, &echo);
        proxy.admin().wait_stat("cluster.up.update_success", 3);
        files.publish("cds.yaml", CLUSTER, &[changed, json!({ "name": "bad", "type": "EDS" })]);
        proxy.admin().wait_stat("cluster_manager.cds.update_rejected", 1);
        proxy.admin().wait_stat("cluster_manager.cluster_modified", 1);
        seen.push(first_words(at, 5));
        files.publish("cds.yaml", CLUSTER, &[]);
        proxy.admin().wait_stat("cluster_manager.cds.update_success", 2);
        proxy.admin().wait_stat("cluster_manager.cluster_removed", 2);
        eventually("the cluster is gone for workers, too", || {
            let mut client = connect(at);
            let _ = client.write_all(b"x");
            let mut nothing = [0];
            !matches!(client.read(&mut nothing), Ok(1))
        });
        seen.push(counted(
            &proxy,
            &["cluster_manager.cds.", "cluster_manager.cluster_", "cluster_manager.active"],
        ));
        seen
    });
    assert_eq!(seen[..6], ["hello", "old", "other", "still", "other", "hello"]);
}

#[test]
fn routes_follow_their_file() {
    same_as_envoy(|binary| {
        let files = WatchedFiles::new();
        files.publish("rds.yaml", ROUTES, &[routes_saying("r", "one")]);
        let manager = hcm_with_routes_from("r", &files.source("rds.yaml"));
        let proxy = Start::new(bootstrap([listener("entry", [manager])], []).with(json!({ "node": node() })))
            .binary(binary)
            .start();
        let at = proxy.listener("entry");
        let mut seen = vec![get(at, "/").text()];
        files.publish("rds.yaml", ROUTES, &[routes_saying("r", "two")]);
        proxy.admin().wait_stat("http.http.rds.r.config_reload", 2);
        eventually("new routes are used", || get(at, "/").text() == "two");
        files.publish("rds.yaml", ROUTES, &[routes_saying("wrong", "three")]);
        proxy.admin().wait_stat("http.http.rds.r.update_rejected", 1);
        seen.push(get(at, "/").text());
        files.publish("rds.yaml", ROUTES, &[]);
        proxy.admin().wait_stat("http.http.rds.r.update_empty", 1);
        seen.push(get(at, "/").text());
        let mut dump = proxy.admin().json("/config_dump?resource=dynamic_route_configs");
        dump["configs"][0]["last_updated"] = json!("then");
        seen.push(dump.to_string());
        seen.push(counted(&proxy, &["http.http.rds."]));
        seen
    });
}

#[test]
fn endpoints_are_dumped_as_envoy_dumps_them() {
    same_as_envoy(|binary| {
        let files = WatchedFiles::new();
        let endpoint = port(9).with(json!({ "load_balancing_weight": 3, "health_status": "DEGRADED" }));
        let places = json!([{ "locality": { "zone": "z" }, "priority": 0, "lb_endpoints": [endpoint] },
            { "priority": 1, "lb_endpoints": [port(10)] }]);
        files.publish("eds.yaml", ENDPOINTS, &[json!({ "cluster_name": "service", "endpoints": places })]);
        files.publish("cds.yaml", CLUSTER, &[cluster_of_service(&files, "up")]);
        let config = bootstrap([], [cluster("fixed", [port(11)])])
            .with(json!({ "node": node(), "dynamic_resources": { "cds_config": files.source("cds.yaml") } }));
        let proxy = Start::new(config).binary(binary).start();
        let dump = |field: &str| {
            proxy.admin().json(&format!("/config_dump?include_eds&resource={field}")).to_string()
        };
        vec![dump("dynamic_endpoint_configs"), dump("static_endpoint_configs")]
    });
}

#[test]
fn a_stream_through_three_hops_loses_nothing_while_everything_else_changes() {
    const UPDATES: usize = 60;
    let (echo, files) = (Origin::echo(), WatchedFiles::new());
    let hop = |number: usize| {
        internal_listener(&format!("hop{number}"), [tcp_proxy("hop", &format!("to{}", number + 1))])
    };
    let present = |number: usize| -> [Vec<Value>; 2] {
        let mut listeners = vec![listener("entry", [tcp_proxy("entry", "to1")]), hop(1), hop(2), hop(3)];
        let mut clusters: Vec<_> = (1..=3)
            .map(|number| cluster(&format!("to{number}"), [internal(&format!("hop{number}"))]))
            .collect();
        clusters.push(cluster_of_service(&files, "to4"));
        // One more of each, another one each time.
        listeners.push(internal_listener(&format!("more{number}"), [tcp_proxy("more", "to4")]));
        clusters.push(cluster(&format!("more{number}"), [port(1)]).with(json!({ "connect_timeout": "3s" })));
        [listeners, clusters]
    };
    let publish = |number: usize| {
        let [listeners, clusters] = present(number);
        // The host that carries the stream stays; another one comes and goes.
        let mut hosts = vec![port(echo.port())];
        hosts.extend((number % 2 == 1).then(|| port(1).with(json!({ "health_status": "UNHEALTHY" }))));
        let assignment = json!({ "cluster_name": "service", "endpoints": [{ "lb_endpoints": hosts }] });
        files.publish("eds.yaml", ENDPOINTS, &[assignment]);
        files.publish("cds.yaml", CLUSTER, &clusters);
        files.publish("lds.yaml", LISTENER, &listeners);
    };
    publish(0);
    let config = bootstrap([], []).with(json!({ "dynamic_resources": {
        "lds_config": files.source("lds.yaml"), "cds_config": files.source("cds.yaml") } }));
    let proxy = Start::new(config).arguments(["--drain-time-s", "1"]).start();
    let at = proxy.listener("entry");
    let mut stream = connect(at);
    let mut reader = stream.try_clone().unwrap();
    let piece: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    let total = UPDATES * piece.len();
    let expected = piece.clone();
    let received = thread::spawn(move || {
        let mut buffer = vec![0; expected.len()];
        for _ in 0..UPDATES {
            reader.read_exact(&mut buffer).unwrap();
            assert!(buffer == expected, "every byte in its place");
        }
        total
    });
    for number in 1..=UPDATES {
        publish(number);
        stream.write_all(&piece).unwrap();
        assert_eq!(first_words(at, 5), "hello", "new connections, too");
    }
    assert_eq!(received.join().unwrap(), total);
    proxy.admin().wait_stat("cluster_manager.active_clusters", 5);
    proxy.admin().wait_stat("listener_manager.total_listeners_active", 5);
    eventually("the last version is there", || {
        proxy.admin().get("/listeners").contains(&format!("more{UPDATES}"))
    });
    proxy.admin().wait_stat("listener_manager.total_listeners_draining", 0);
    assert_eq!(proxy.admin().stat("listener_manager.lds.update_rejected"), 0);
    assert_eq!(proxy.admin().stat("cluster_manager.cds.update_rejected"), 0);
    assert_eq!(ask(&mut stream, "and on"), "and on");
    drop(stream);
    proxy.admin().wait_idle();
}

#[test]
fn a_listener_that_is_refused_is_told_with_its_line_and_does_not_hide_the_others() {
    let (echo, files) = (Origin::echo(), WatchedFiles::new());
    let good = |name: &str| listener(name, [tcp_proxy(name, "up")]);
    files.publish("lds.yaml", LISTENER, &[good("a")]);
    let config = bootstrap([], [cluster("up", [port(echo.port())])])
        .with(json!({ "dynamic_resources": { "lds_config": files.source("lds.yaml") } }));
    let proxy = Proxy::start(config);
    fs::write(
        files.path("lds.yaml"),
        format!(
            "version_info: '2'\nresources:\n- {}\n- '@type': x/{LISTENER}\n  name: b\n  address: {{pipe: {{path: /x}}}}\n  \
             filter_chains: [{{filters: [{{name: t, typed_config: {{'@type': x/no.such.Filter}}}}]}}]\n  stat_prefixx: 1\n",
            good("c").with(json!({ "@type": format!("x/{LISTENER}") }))
        ),
    )
    .unwrap();
    proxy.admin().wait_stat("listener_manager.lds.update_rejected", 1);
    assert_eq!(first_words(proxy.listener("c"), 5), "hello", "the good one of the update serves");
    let log = proxy.log();
    let line = format!("{}:7:", files.path("lds.yaml"));
    assert!(log.contains(&line) && log.contains("no.such.Filter"), "{line} in {log}");
    let dump = proxy.admin().get("/config_dump?resource=dynamic_listeners&name_regex=b");
    assert!(dump.contains("error_state") && dump.contains("no.such.Filter"), "{dump}");
    let removed = proxy.admin().stat("listener_manager.listener_removed");
    assert_eq!(removed, 1, "what an update does not name is gone");
}

#[test]
fn sources_that_say_version_2_are_used_as_those_of_version_3_with_a_warning() {
    let seen = same_as_envoy(|binary| {
        let files = WatchedFiles::new();
        let source = |file: &str| files.source(file).with(json!({ "resource_api_version": "V2" }));
        let manager = hcm_with_routes_from("r", &source("rds.yaml"));
        files.publish("rds.yaml", ROUTES, &[routes_saying("r", "two is three")]);
        files.publish("eds.yaml", ENDPOINTS, &[endpoints("up", &port(1))]);
        files.publish("cds.yaml", CLUSTER, &[eds_cluster("up", &source("eds.yaml"))]);
        files.publish("lds.yaml", LISTENER, &[listener("entry", [manager])]);
        let config = bootstrap([], []).with(json!({ "node": node(), "dynamic_resources": {
            "lds_config": source("lds.yaml"), "cds_config": source("cds.yaml") } }));
        let proxy = Start::new(config).binary(binary).start();
        eventually("the routes are there", || get(proxy.listener("entry"), "/").text() == "two is three");
        let log = proxy.log();
        let warnings = log.lines().filter(|line| {
            ["warning", "deprecated", "V2", "resource_api_version"].iter().all(|word| line.contains(word))
        });
        vec![
            format!("endpoints: {}", proxy.admin().stat("cluster.up.membership_total")),
            format!("warned: {}", warnings.count() > 0),
        ]
    });
    assert_eq!(seen, ["endpoints: 1", "warned: true"]);
}
