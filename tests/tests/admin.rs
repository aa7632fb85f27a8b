//! The admin interface: which paths there are, how they are asked, and the shape of what they show.

use serde_json::{Value, json};
use underpass_tests::{
    Chain, Origin, Proxy, Start, With,
    client::ask,
    config::{bootstrap, cluster, internal, listener, port, tcp_proxy},
    proxy::wait_refused,
};

/// The chain of these tests, with an endpoint id, so that addresses are complete; one connection was there.
fn after_one_connection() -> (Proxy, Origin) {
    let origin = Origin::echo();
    let to_inner = cluster("to_inner", [internal("inner/ep1")]);
    let proxy = Start::new(Chain::to(&origin).to_inner(to_inner)).arguments(["--drain-time-s", "7"]).start();
    assert_eq!(ask(&mut proxy.connect("outer"), "hello"), "hello");
    proxy.admin().wait_idle();
    (proxy, origin)
}

#[test]
fn answers_carry_envoys_headers() {
    let proxy = Proxy::start(bootstrap([], []));
    for (path, kind) in [
        ("/ready", "text/plain; charset=UTF-8"),
        ("/stats", "text/plain; charset=UTF-8"),
        ("/clusters", "text/plain; charset=UTF-8"),
        ("/server_info", "application/json"),
        ("/config_dump", "application/json"),
        ("/stats?format=json", "application/json"),
        ("/listeners?format=json", "application/json"),
        ("/memory", "application/json"),
    ] {
        let answer = proxy.admin().ask("GET", path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache, max-age=0"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("server"), Some("envoy"), "{path}");
    }
}

#[test]
fn paths_that_change_something_want_post() {
    let proxy = Proxy::start(bootstrap([], []));
    for path in [
        "/quitquitquit",
        "/drain_listeners",
        "/reset_counters",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/runtime_modify?a=1",
        "/logging",
    ] {
        let answer = proxy.admin().ask("GET", path);
        assert_eq!(
            (answer.status, answer.body.trim_end()),
            (405, "Method GET not allowed, POST required."),
            "{path}"
        );
    }
    assert_eq!(proxy.admin().get("/ready"), "LIVE\n");
}

#[test]
fn unknown_path_gets_the_help() {
    let proxy = Proxy::start(bootstrap([], []));
    let answer = proxy.admin().ask("GET", "/no/such/path");
    assert_eq!(answer.status, 404);
    assert!(answer.body.starts_with("invalid path. admin commands are:\n"), "{}", answer.body);
    let help = proxy.admin().get("/help");
    assert!(help.starts_with("admin commands are:\n  /: Admin home page\n"), "{help}");
    for path in [
        "/certs",
        "/clusters",
        "/config_dump",
        "/drain_listeners (POST)",
        "/healthcheck/fail (POST)",
        "/healthcheck/ok (POST)",
        "/help",
        "/listeners",
        "/logging (POST)",
        "/memory",
        "/quitquitquit (POST)",
        "/ready",
        "/reset_counters (POST)",
        "/runtime",
        "/runtime_modify (POST)",
        "/server_info",
        "/stats",
        "/stats/prometheus",
    ] {
        let line = format!("\n  {path}: ");
        assert!(help.contains(&line), "no {path} in\n{help}");
        assert!(answer.body.contains(&line), "no {path} in\n{}", answer.body);
    }
    assert_eq!(proxy.admin().ask("GET", "/").header("content-type"), Some("text/html; charset=UTF-8"));
}

#[test]
fn every_path_of_the_help_answers() {
    let proxy = Proxy::start(bootstrap([], []));
    let help = proxy.admin().get("/help");
    let paths = help.lines().filter_map(|line| line.strip_prefix("  /")?.split_once(": "));
    // What changes something has tests of its own.
    let paths: Vec<_> = paths.map(|(path, _)| path).filter(|path| !path.ends_with("(POST)")).collect();
    assert!(paths.len() > 10, "{help}");
    for path in paths {
        let answer = proxy.admin().ask("GET", &format!("/{path}"));
        // Envoy answers so for what is not compiled in.
        assert!([200, 501].contains(&answer.status), "/{path}: {}", answer.status);
    }
}

#[test]
fn server_info_shows_the_version_the_state_and_the_command_line() {
    let config = bootstrap([], []).with(json!({ "node": { "id": "node-1", "cluster": "cluster-1" } }));
    let arguments =
        ["--drain-time-s", "7", "--concurrency", "2", "-l", "warning", "--service-zone", "zone-1"];
    let info = Start::new(config).arguments(arguments).start().admin().json("/server_info");
    assert_eq!(info["state"], "LIVE");
    for text in ["version", "uptime_current_epoch", "uptime_all_epochs", "hot_restart_version"] {
        assert!(info[text].is_string(), "{text}: {}", info[text]);
    }
    let options = &info["command_line_options"];
    for (option, value) in [
        ("concurrency", json!(2)),
        ("drain_time", json!("7s")),
        ("log_level", json!("warning")),
        ("mode", json!("Serve")),
        ("service_zone", json!("zone-1")),
        ("parent_shutdown_time", json!("900s")),
        ("disable_hot_restart", json!(true)),
        ("file_flush_interval", json!("0.050s")),
    ] {
        assert_eq!(options[option], value, "{option}");
    }
    assert_eq!(info["node"]["id"], "node-1");
    assert_eq!(info["node"]["cluster"], "cluster-1");
}

#[test]
fn listeners_are_listed_as_text_and_as_json() {
    let (proxy, _origin) = after_one_connection();
    let port = proxy.listener("outer").port();
    assert_eq!(proxy.admin().get("/listeners"), format!("outer::127.0.0.1:{port}\ninner::envoy://inner/\n"));
    assert_eq!(
        proxy.admin().json("/listeners?format=json"),
        json!({ "listener_statuses": [
            { "name": "outer", "local_address": { "socket_address": { "address": "127.0.0.1", "port_value": port } } },
            { "name": "inner", "local_address": { "envoy_internal_address": { "server_listener_name": "inner" } } },
        ]})
    );
}

#[test]
fn clusters_are_listed_with_their_limits_and_hosts() {
    let (proxy, origin) = after_one_connection();
    let clusters = proxy.admin().get("/clusters");
    for (name, host) in [("to_inner", "envoy://inner/ep1".to_owned()), ("up", origin.address().to_string())] {
        for priority in ["default", "high"] {
            for (limit, value) in [
                ("max_connections", 1024),
                ("max_pending_requests", 1024),
                ("max_requests", 1024),
                ("max_retries", 3),
            ] {
                let line = format!("{name}::{priority}_priority::{limit}::{value}");
                assert!(clusters.lines().any(|it| it == line), "no {line} in\n{clusters}");
            }
        }
        for line in ["observability_name::".to_owned() + name, "added_via_api::false".into()] {
            assert!(clusters.contains(&format!("{name}::{line}\n")), "no {line} in\n{clusters}");
        }
        let found: Vec<_> =
            clusters.lines().filter_map(|line| line.strip_prefix(&format!("{name}::{host}::"))).collect();
        assert_eq!(found, HOST, "{name}");
    }
    let filtered = proxy.admin().get("/clusters?filter=^up$");
    assert!(filtered.starts_with("up::observability_name") && !filtered.contains("to_inner"), "{filtered}");
}

/// What `/clusters` shows of a host that had one connection.
const HOST: [&str; 19] = [
    "cx_active::0",
    "cx_connect_fail::0",
    "cx_total::1",
    "rq_active::0",
    "rq_error::0",
    "rq_pending_active::0",
    "rq_success::0",
    "rq_timeout::0",
    "rq_total::1",
    "hostname::",
    "health_flags::healthy",
    "weight::1",
    "region::",
    "zone::",
    "sub_zone::",
    "canary::false",
    "priority::0",
    "success_rate::-1",
    "local_origin_success_rate::-1",
];

#[test]
fn clusters_as_json_describe_the_addresses() {
    let (proxy, _origin) = after_one_connection();
    let clusters = proxy.admin().json("/clusters?format=json");
    let all = clusters["cluster_statuses"].as_array().unwrap();
    let cluster = all.iter().find(|it| it["name"] == "to_inner").unwrap();
    let host = &cluster["host_statuses"][0];
    assert_eq!(
        host["address"],
        json!({ "envoy_internal_address": { "server_listener_name": "inner", "endpoint_id": "ep1" } })
    );
    let stats = host["stats"].as_array().unwrap();
    let total = stats.iter().find(|it| it["name"] == "cx_total").unwrap();
    assert_eq!(total["value"], "1");
    assert_eq!(host["health_status"]["eds_health_status"], "HEALTHY");
}

#[test]
fn config_dump_has_the_sections_of_bootstrap_clusters_and_listeners() {
    let (proxy, _origin) = after_one_connection();
    let dump = proxy.admin().json("/config_dump");
    let section = |kind: &str| {
        let url = format!("type.googleapis.com/envoy.admin.v3.{kind}ConfigDump");
        let sections = dump["configs"].as_array().unwrap();
        sections.iter().find(|it| it["@type"] == url.as_str()).unwrap_or_else(|| panic!("no {url}")).clone()
    };
    let names = |list: &Value, kind: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|it| it[kind]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&section("Listeners")["static_listeners"], "listener"), ["outer", "inner"]);
    assert_eq!(names(&section("Clusters")["static_clusters"], "cluster"), ["to_inner", "up"]);
    let bootstrap = &section("Bootstrap")["bootstrap"];
    assert_eq!(bootstrap["static_resources"]["listeners"][1]["internal_listener"], json!({}));
    let filter = &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    assert_eq!(filter["typed_config"]["stat_prefix"], "outer");
    // One section, and names by a pattern.
    let clusters = proxy.admin().json("/config_dump?resource=static_clusters");
    assert_eq!(names(&clusters["configs"], "cluster"), ["to_inner", "up"]);
    let named = proxy.admin().json("/config_dump?resource=static_clusters&name_regex=u.");
    assert_eq!(names(&named["configs"], "cluster"), ["up"]);
}

#[test]
fn failing_and_passing_health_checks_shows_in_ready() {
    let proxy = Proxy::start(bootstrap([], []));
    assert_eq!(proxy.admin().post("/healthcheck/fail"), "OK\n");
    let answer = proxy.admin().ask("GET", "/ready");
    assert_eq!((answer.status, answer.body.as_str()), (503, "DRAINING\n"));
    assert_eq!(proxy.admin().json("/server_info")["state"], "DRAINING");
    assert_eq!(proxy.admin().stat("server.live"), 0);
    assert_eq!(proxy.admin().post("/healthcheck/ok"), "OK\n");
    let answer = proxy.admin().ask("GET", "/ready");
    assert_eq!((answer.status, answer.body.as_str()), (200, "LIVE\n"));
    assert_eq!(proxy.admin().stat("server.live"), 1);
}

#[test]
fn drained_listeners_refuse_while_open_connections_go_on() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin));
    let address = proxy.listener("outer");
    let listeners = proxy.admin().get("/listeners");
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "before"), "before");
    assert_eq!(proxy.admin().post("/drain_listeners"), "OK\n");
    wait_refused(address);
    proxy.admin().wait_stat("listener_manager.listener_stopped", 2);
    assert_eq!(ask(&mut client, "after"), "after");
    assert_eq!(proxy.admin().get("/ready"), "LIVE\n");
    assert_eq!(proxy.admin().get("/listeners"), listeners);
}

#[test]
fn only_inbound_listeners_drain_if_that_is_asked_for() {
    let origin = Origin::echo();
    let up = || cluster("up", [port(origin.port())]);
    let proxy = Proxy::start(bootstrap(
        [
            listener("in", [tcp_proxy("in", "up")]).with(json!({ "traffic_direction": "INBOUND" })),
            listener("out", [tcp_proxy("out", "up")]).with(json!({ "traffic_direction": "OUTBOUND" })),
        ],
        [up()],
    ));
    let inbound = proxy.listener("in");
    assert_eq!(proxy.admin().post("/drain_listeners?inboundonly"), "OK\n");
    wait_refused(inbound);
    assert_eq!(ask(&mut proxy.connect("out"), "still"), "still");
    assert_eq!(proxy.admin().stat("listener_manager.listener_stopped"), 1);
}

#[test]
fn quitting_ends_the_process_although_a_connection_is_open() {
    let origin = Origin::echo();
    let mut proxy = Proxy::start(Chain::to(&origin));
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "open"), "open");
    assert_eq!(proxy.admin().post("/quitquitquit"), "OK\n");
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn log_levels_are_shown_and_changed() {
    let proxy = Proxy::start(bootstrap([], []));
    let levels = |path: &str| {
        let answer = proxy.admin().ask("POST", path);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let lines = answer.body.strip_prefix("active loggers:\n").expect("Envoy's first line").to_owned();
        move |name: &str| {
            let prefix = format!("  {name}: ");
            lines.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
        }
    };
    assert_eq!(levels("/logging")("upstream").as_deref(), Some("info"));
    assert_eq!(levels("/logging?level=warning")("main").as_deref(), Some("warning"));
    let changed = levels("/logging?paths=upstream:debug,config:trace");
    assert_eq!(changed("upstream").as_deref(), Some("debug"));
    assert_eq!(changed("config").as_deref(), Some("trace"));
    assert_eq!(changed("main").as_deref(), Some("warning"));
    assert_eq!(levels("/logging?upstream=error")("upstream").as_deref(), Some("error"));
    let answer = proxy.admin().ask("POST", "/logging?level=loud");
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("error: unknown log"), "{}", answer.body);
}

#[test]
fn runtime_is_shown_and_changed() {
    let layers = json!({ "layers": [
        { "name": "base", "static_layer": { "a.b": 1, "c": "x" } },
        { "name": "admin", "admin_layer": {} },
    ]});
    let proxy = Proxy::start(bootstrap([], []).with(json!({ "layered_runtime": layers })));
    let runtime = proxy.admin().json("/runtime");
    assert_eq!(runtime["layers"], json!(["base", "admin"]));
    assert_eq!(runtime["entries"]["a.b"], json!({ "final_value": "1", "layer_values": ["1", ""] }));
    assert_eq!(runtime["entries"]["c"]["final_value"], "x");
    assert_eq!(proxy.admin().post("/runtime_modify?a.b=2&d=true"), "OK\n");
    let runtime = proxy.admin().json("/runtime");
    assert_eq!(runtime["entries"]["a.b"], json!({ "final_value": "2", "layer_values": ["1", "2"] }));
    assert_eq!(runtime["entries"]["d"]["final_value"], "true");
    // An empty value takes the change back.
    assert_eq!(proxy.admin().post("/runtime_modify?a.b="), "OK\n");
    assert_eq!(proxy.admin().json("/runtime")["entries"]["a.b"]["final_value"], "1");
    assert_eq!(proxy.admin().stat("runtime.num_layers"), 2);
}

#[test]
fn runtime_without_an_admin_layer_cannot_be_changed() {
    let proxy = Proxy::start(bootstrap([], []).with(json!({
        "layered_runtime": { "layers": [{ "name": "base", "static_layer": {} }] }
    })));
    assert_eq!(proxy.admin().ask("POST", "/runtime_modify?a=1").status, 503);
}

#[test]
fn memory_and_certificates_have_envoys_shape() {
    let proxy = Proxy::start(bootstrap([], []));
    let memory = proxy.admin().json("/memory");
    for field in [
        "allocated",
        "heap_size",
        "pageheap_unmapped",
        "pageheap_free",
        "total_thread_cache",
        "total_physical_bytes",
    ] {
        let bytes = memory[field].as_str().and_then(|text| text.parse::<u64>().ok());
        assert!(bytes.is_some(), "{field}: {}", memory[field]);
    }
    assert_eq!(proxy.admin().json("/certs"), json!({ "certificates": [] }));
    assert_eq!(proxy.admin().json("/init_dump"), json!({}));
    assert_eq!(proxy.admin().get("/hot_restart_version").trim_end(), "disabled");
}
