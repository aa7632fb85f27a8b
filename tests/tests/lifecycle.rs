//! How a proxy starts and ends: signals, drain on TERM, log files that are moved away.

use std::{
    fs,
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use serde_json::json;
use underpass_tests::{
    Chain, Origin, PATIENCE, Proxy, Start, With,
    client::{End, ask, read_all},
    config::{bootstrap, listener, tcp_proxy},
    eventually,
    proxy::wait_refused,
};

/// No proxy needs longer to end at once, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn signals_end_it_at_once_and_the_logs_of_open_connections_are_written() {
    for signal in ["TERM", "INT"] {
        let origin = Origin::echo();
        let mut proxy = Proxy::start(Chain::to(&origin));
        let mut clients = [proxy.connect("outer"), proxy.connect("outer")];
        for client in &mut clients {
            assert_eq!(ask(client, "open"), "open");
        }
        let (status, after) = proxy.stop_by(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(after < AT_ONCE, "{signal}: {after:?}");
        for log in ["outer.log", "inner.log"] {
            let lines = proxy.lines_now(log);
            assert_eq!(lines.len(), 2, "{signal}: {lines:?}");
            assert!(lines.iter().all(|line| line.contains("rx=4 tx=4")), "{signal}: {lines:?}");
        }
        for client in &mut clients {
            assert_ne!(read_all(client).1, End::Open, "{signal}");
        }
    }
}

/// A proxy that drains on TERM: Envoy has nothing like it, so it has to be asked for.
fn drains_on_term(origin: &Origin, drain_seconds: &str) -> Proxy {
    let layer = json!({ "name": "static", "static_layer": { "underpass.features.drain_on_term": true } });
    let chain = Chain::to(origin).bootstrap(json!({ "layered_runtime": { "layers": [layer] } }));
    Start::new(chain).arguments(["--drain-time-s", drain_seconds, "--parent-shutdown-time-s", "60"]).start()
}

/// The same after TERM, with a client.
#[track_caller]
fn draining(origin: &Origin) -> (Proxy, TcpStream) {
    let proxy = drains_on_term(origin, "30");
    let address = proxy.listener("outer");
    let mut client = proxy.connect("outer");
    assert_eq!(ask(&mut client, "open"), "open");
    proxy.signal("TERM");
    wait_refused(address);
    (proxy, client)
}

#[test]
fn term_drains_if_that_is_asked_for() {
    let origin = Origin::echo();
    let (mut proxy, mut client) = draining(&origin);
    assert_eq!(ask(&mut client, "still served"), "still served");
    drop(client);
    // The last connection is gone, and with it the reason to wait.
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn second_term_ends_a_drain_at_once() {
    let origin = Origin::echo();
    let (mut proxy, mut client) = draining(&origin);
    let (status, after) = proxy.stop();
    assert_eq!(status.code(), Some(0));
    assert!(after < AT_ONCE, "{after:?}");
    assert_ne!(read_all(&mut client).1, End::Open);
}

#[test]
fn usr1_reopens_the_access_logs_and_the_log() {
    let origin = Origin::echo();
    let proxy = Start::new(Chain::to(&origin)).arguments(["--log-path", "DIR/own.log"]).start();
    let one_connection = || {
        assert_eq!(ask(&mut proxy.connect("outer"), "hello"), "hello");
        proxy.admin().wait_idle();
    };
    one_connection();
    let moved = ["outer.log", "inner.log"];
    for log in moved {
        assert_eq!(proxy.lines(log, 1).len(), 1);
    }
    assert!(!proxy.lines("own.log", 1).is_empty());
    for log in moved.iter().chain(&["own.log"]) {
        fs::rename(proxy.path(log), proxy.path(&format!("{log}.1"))).unwrap();
    }
    proxy.signal("USR1");
    eventually("the logs are there again", || {
        // Envoy opens an access log again when it has something to write.
        one_connection();
        moved.iter().all(|log| !proxy.lines_now(log).is_empty())
    });
    for log in moved {
        assert!(proxy.lines_now(&format!("{log}.1")).iter().all(|line| line.contains("rx=5")));
    }
    eventually("the proxy's own log is there again", || {
        proxy.admin().post("/logging?level=debug");
        one_connection();
        !proxy.lines_now("own.log").is_empty()
    });
}

#[test]
fn access_logs_of_several_proxies_share_a_file_without_mixing_lines() {
    let origin = Origin::echo();
    let shared = |prefix: &str| {
        underpass_tests::config::log_to(
            "shared.log",
            &format!("{prefix} %BYTES_RECEIVED% {}", "-".repeat(300)),
        )
    };
    let proxy = Proxy::start(Chain::to(&origin).outer(shared("outer")).inner(shared("inner")));
    for _ in 0..50 {
        assert_eq!(ask(&mut proxy.connect("outer"), "hello"), "hello");
    }
    proxy.admin().wait_idle();
    let lines = proxy.lines("shared.log", 100);
    for prefix in ["outer", "inner"] {
        let whole = format!("{prefix} 5 {}", "-".repeat(300));
        assert_eq!(lines.iter().filter(|line| **line == whole).count(), 50, "{prefix}");
    }
}

#[test]
fn ready_proxy_has_its_workers_and_listeners() {
    let proxy = Start::new(bootstrap([listener("outer", [tcp_proxy("outer", "nowhere")])], []))
        .arguments(["--concurrency", "3"])
        .start();
    let stats = proxy.admin().stats();
    for (name, value) in [
        ("server.live", 1),
        ("server.state", 0),
        ("server.concurrency", 3),
        ("listener_manager.workers_started", 1),
        ("listener_manager.total_listeners_active", 1),
        ("listener_manager.listener_added", 1),
        // Once for each worker.
        ("listener_manager.listener_create_success", 3),
        ("cluster_manager.active_clusters", 0),
    ] {
        assert_eq!(stats.get(name), Some(&value), "{name}");
    }
}

#[test]
fn proxy_without_listeners_serves_its_admin_interface() {
    let proxy = Proxy::start(bootstrap([], []).with(json!({})));
    assert_eq!(proxy.admin().get("/listeners"), "");
    assert_eq!(proxy.admin().get("/clusters"), "");
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify").display().to_string();
    let name = format!("underpass-tests-{}", std::process::id());
    let nowhere = SocketAddr::from_abstract_name(&name).unwrap();
    for (listening, place) in [
        (UnixDatagram::bind(&path).unwrap(), path.clone()),
        (UnixDatagram::bind_addr(&nowhere).unwrap(), format!("@{name}")),
    ] {
        listening.set_read_timeout(Some(PATIENCE)).unwrap();
        let told = || {
            let mut buffer = [0; 1024];
            let length = listening.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let config = bootstrap([listener("outer", [tcp_proxy("outer", "nowhere")])], []);
        let mut proxy = Start::new(config.clone()).environment("NOTIFY_SOCKET", &place).start();
        assert_eq!(told(), "READY=1\nSTATUS=serving");
        proxy.reload(config);
        let reloading = told();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(told(), "READY=1\nSTATUS=serving; the configuration was taken over");
        proxy.reload_in_vain("static_resources: [");
        assert!(told().starts_with("RELOADING=1\n"));
        let refused = "READY=1\nSTATUS=serving; the configuration that was read last is refused, see the log";
        assert_eq!(told(), refused);
        assert_eq!(proxy.stop().0.code(), Some(0));
        assert_eq!(told(), "STOPPING=1\nSTATUS=shutting down");
    }
}
