//! Where listeners listen, how many connections they take, what they log, and how they restore addresses.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, PATIENCE, Proxy, Start, With,
    client::{End, ask, connect, read_all},
    config::{
        address, bootstrap, cluster, endpoint, extension, file_log, filter_state, internal,
        internal_listener, internal_upstream, listener, listener_at, listener_filter, log_to, metadata, pipe,
        port, set_filter_state, tcp_proxy,
    },
    eventually, eventually_some,
};

/// A proxy from one listener to an origin.
fn in_front_of(origin: &Origin, entry: Value) -> Proxy {
    Proxy::start(bootstrap([entry], [cluster("up", [port(origin.port())])]))
}

#[test]
fn listens_on_a_unix_socket() {
    let origin = Origin::sink();
    let log = log_to("entry.log", "%DOWNSTREAM_LOCAL_ADDRESS% rx=%BYTES_RECEIVED%");
    let proxy = in_front_of(
        &origin,
        listener_at("entry", pipe("DIR/entry.sock"), [tcp_proxy("entry", "up").with(log)]),
    );
    let path = proxy.path("entry.sock");
    assert_eq!(proxy.admin().get("/listeners"), format!("entry::{}\n", path.display()));
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "got 5");
    drop(client);
    assert_eq!(proxy.lines("entry.log", 1), [format!("{} rx=5", path.display())]);
}

#[test]
fn connects_to_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("up.sock");
    let upstream = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut stream in upstream.incoming().flatten() {
            let mut reader = stream.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut reader, &mut stream));
        }
    });
    let up = cluster("up", [endpoint(pipe(&path.display().to_string()))]);
    let proxy = Proxy::start(bootstrap([listener("entry", [tcp_proxy("entry", "up")])], [up]));
    assert_eq!(ask(&mut proxy.connect("entry"), "hello"), "hello");
    assert!(proxy.admin().get("/clusters").contains(&format!("up::{}::cx_total::1", path.display())));
}

#[test]
fn listens_and_connects_on_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let six = listener_at("six", address("::1", 0), [tcp_proxy("six", "up")]);
    let four = listener("four", [tcp_proxy("four", "to_six")]);
    let origin = Origin::echo();
    let proxy =
        Proxy::start(bootstrap([six, four], [cluster("up", [port(origin.port())]), cluster("to_six", [])]));
    let to_six = proxy.listener("six");
    assert!(to_six.is_ipv6());
    assert_eq!(ask(&mut connect(to_six), "hello"), "hello");
    assert_eq!(proxy.admin().stat("listener.[__1]_0.downstream_cx_total"), 1);

    // The other way round: an IPv4 client, an IPv6 upstream.
    let up = cluster("up", [endpoint(address("::1", to_six.port()))]);
    let second = Proxy::start(bootstrap([listener("entry", [tcp_proxy("entry", "up")])], [up]));
    assert_eq!(ask(&mut second.connect("entry"), "hello"), "hello");
}

#[test]
fn one_listener_has_several_addresses() {
    let origin = Origin::echo();
    let more = json!({ "additional_addresses": [{ "address": address("127.0.0.2", 0) }, { "address": address("127.0.0.1", 0) }] });
    let proxy = in_front_of(&origin, listener("entry", [tcp_proxy("entry", "up")]).with(more));
    let addresses = proxy.addresses("entry");
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for address in addresses {
        assert_eq!(ask(&mut connect(address), "hello"), "hello");
    }
    assert_eq!(proxy.admin().stat("tcp.entry.downstream_cx_total"), 3);
}

#[test]
fn several_workers_share_the_port() {
    let origin = Origin::echo();
    for reuse_port in [true, false] {
        let entry = listener("outer", [tcp_proxy("outer", "to_inner")])
            .with(json!({ "enable_reuse_port": reuse_port }));
        let inner = internal_listener("inner", [tcp_proxy("inner", "up")]);
        let clusters = [cluster("to_inner", [internal("inner")]), cluster("up", [port(origin.port())])];
        let proxy = Start::new(bootstrap([entry, inner], clusters)).arguments(["--concurrency", "3"]).start();
        let mut clients: Vec<_> = (0..60).map(|_| proxy.connect("outer")).collect();
        for client in &mut clients {
            assert_eq!(ask(client, "hello"), "hello");
        }
        let stats = proxy.admin().stats();
        for listener in ["127.0.0.1_0", "envoy_internal_inner"] {
            let worker = |at: usize| stats[&format!("listener.{listener}.worker_{at}.downstream_cx_total")];
            assert_eq!((0..3).map(worker).sum::<u64>(), 60);
            assert_eq!(stats[&format!("listener.{listener}.downstream_cx_active")], 60);
        }
        // A hop stays on the worker of its client.
        for at in 0..3 {
            let of = |listener: &str| stats[&format!("listener.{listener}.worker_{at}.downstream_cx_total")];
            assert_eq!(of("127.0.0.1_0"), of("envoy_internal_inner"), "worker {at}");
        }
        drop(clients);
        proxy.admin().wait_idle();
    }
}

#[test]
fn connections_are_balanced_exactly_if_that_is_asked_for() {
    let origin = Origin::echo();
    let entry = listener("entry", [tcp_proxy("entry", "up")])
        .with(json!({ "connection_balance_config": { "exact_balance": {} } }));
    let config = bootstrap([entry], [cluster("up", [port(origin.port())])]);
    let proxy = Start::new(config).arguments(["--concurrency", "2"]).start();
    let mut clients = Vec::new();
    for count in 1..=10 {
        let mut client = proxy.connect("entry");
        assert_eq!(ask(&mut client, "hello"), "hello");
        clients.push(client);
        let stats = proxy.admin().stats();
        let active = |at: usize| stats[&format!("listener.127.0.0.1_0.worker_{at}.downstream_cx_active")];
        assert_eq!(active(0) + active(1), count);
        assert!(active(0).abs_diff(active(1)) <= 1, "{} and {}", active(0), active(1));
    }
}

#[test]
fn global_limit_turns_connections_away() {
    let origin = Origin::echo();
    let monitor = json!({
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": 2,
        },
    });
    limited(&origin, json!({ "overload_manager": { "resource_monitors": [monitor] } }));
}

#[test]
fn global_limit_may_come_from_the_runtime() {
    let origin = Origin::echo();
    let layer =
        json!({ "name": "limit", "static_layer": { "overload.global_downstream_max_connections": 2 } });
    limited(&origin, json!({ "layered_runtime": { "layers": [layer] } }));
}

/// Two connections are served, a third one is closed, and a next one is served when one of the two is gone.
#[track_caller]
fn limited(origin: &Origin, limit: Value) {
    let entry = listener("entry", [tcp_proxy("entry", "up")]);
    let proxy = Proxy::start(bootstrap([entry], [cluster("up", [port(origin.port())])]).with(limit));
    let address = proxy.listener("entry");
    let [first, mut second] = [served(address), served(address)];
    assert_eq!(read_all(&mut connect(address)).0, "");
    eventually("it is counted", || {
        proxy.admin().stat("listener.127.0.0.1_0.downstream_global_cx_overflow") > 0
    });
    drop(first);
    let _third = served(address);
    assert_eq!(ask(&mut second, "still"), "still");
}

/// A connection that is served, as soon as there is room: one of the admin interface may take some for a moment.
#[track_caller]
fn served(address: SocketAddr) -> TcpStream {
    eventually_some("there is room", || {
        let mut client = connect(address);
        (client.write_all(b"x").is_ok() && matches!(client.read(&mut [0]), Ok(1))).then_some(client)
    })
}

#[test]
fn listener_may_ignore_the_global_limit() {
    let origin = Origin::echo();
    let layer =
        json!({ "name": "limit", "static_layer": { "overload.global_downstream_max_connections": 1 } });
    let free = listener("free", [tcp_proxy("free", "up")]).with(json!({ "ignore_global_conn_limit": true }));
    let config = bootstrap([free], [cluster("up", [port(origin.port())])])
        .with(json!({ "layered_runtime": { "layers": [layer] } }));
    let proxy = Proxy::start(config);
    let mut clients: Vec<TcpStream> = (0..5).map(|_| proxy.connect("free")).collect();
    for client in &mut clients {
        assert_eq!(ask(client, "hello"), "hello");
    }
}

#[test]
fn listener_logs_every_connection() {
    let origin = Origin::echo();
    let never = json!({ "filter_chain_match": { "transport_protocol": "never" } });
    let log = |file: &str| json!({ "access_log": [file_log(file, "%DOWNSTREAM_REMOTE_ADDRESS% rx=%BYTES_RECEIVED% %RESPONSE_FLAGS%")] });
    let matching = listener("matching", [tcp_proxy("matching", "up")]).with(log("matching.log"));
    let mut refusing = listener("refusing", [tcp_proxy("refusing", "up")]).with(log("refusing.log"));
    let chain = refusing["filter_chains"][0].clone().with(never);
    refusing["filter_chains"][0] = chain;
    let proxy = Proxy::start(bootstrap([matching, refusing], [cluster("up", [port(origin.port())])]));

    let mut client = proxy.connect("matching");
    assert_eq!(ask(&mut client, "hello"), "hello");
    let peer = client.local_addr().unwrap();
    drop(client);
    assert_eq!(proxy.lines("matching.log", 1), [format!("{peer} rx=5 -")]);

    let mut client = proxy.connect("refusing");
    let peer = client.local_addr().unwrap();
    assert_eq!(read_all(&mut client).0, "");
    assert_eq!(proxy.lines("refusing.log", 1), [format!("{peer} rx=0 NR")]);
}

/// `outer` → internal listener `inner` with the `original_dst` filter, whose log shows its addresses.
fn restoring(outer: Vec<Value>, to_inner: Value) -> (Proxy, Origin) {
    let origin = Origin::echo();
    let log = log_to(
        "inner.log",
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%",
    );
    let inner = internal_listener("inner", [tcp_proxy("inner", "up").with(log)])
        .with(json!({ "listener_filters": [listener_filter("original_dst.v3.OriginalDst")] }));
    let config =
        bootstrap([listener("outer", outer), inner], [to_inner, cluster("up", [port(origin.port())])]);
    let proxy = Proxy::start(config);
    assert_eq!(ask(&mut proxy.connect("outer"), "hello"), "hello");
    (proxy, origin)
}

#[test]
fn internal_listener_restores_the_address_that_the_host_metadata_names() {
    let host = metadata(json!({ "envoy.filters.listener.original_dst": { "local": "10.1.2.3:8080" } }));
    let transport = internal_upstream(&[("envoy.filters.listener.original_dst", "host")]);
    let to_inner = cluster("to_inner", [internal("inner/ep1").with(host)])
        .with(json!({ "transport_socket": transport }));
    let (proxy, _origin) = restoring(vec![tcp_proxy("outer", "to_inner")], to_inner);
    let client = "envoy://internal_client_address/";
    assert_eq!(proxy.lines("inner.log", 1), [format!("{client} {client} 10.1.2.3:8080")]);
}

#[test]
fn internal_listener_restores_the_addresses_that_filter_state_names() {
    let key = |end: &str| format!("envoy.filters.listener.original_dst.{end}");
    let state = |end: &str, value: &str| filter_state(&key(end), &key(end), value, "ONCE");
    let set = set_filter_state([
        state("local_ip", "10.9.8.7:443"),
        state("remote_ip", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ]);
    let to_inner =
        cluster("to_inner", [internal("inner")]).with(json!({ "transport_socket": internal_upstream(&[]) }));
    let (proxy, _origin) = restoring(vec![set, tcp_proxy("outer", "to_inner")], to_inner);
    let line = &proxy.lines("inner.log", 1)[0];
    let fields: Vec<_> = line.split(' ').collect();
    assert!(fields[0].starts_with("127.0.0.1:"), "{line}");
    assert_eq!(fields[1..], ["envoy://internal_client_address/", "10.9.8.7:443"], "{line}");
}

#[test]
fn small_filters_end_or_limit_a_chain() {
    let direct = extension(
        "filters.network.direct_response.v3.Config",
        json!({ "response": { "inline_string": "said at once" } }),
    );
    let limit = extension(
        "filters.network.connection_limit.v3.ConnectionLimit",
        json!({ "stat_prefix": "few", "max_connections": 1 }),
    );
    let echo = || extension("filters.network.echo.v3.Echo", json!({}));
    let proxy = Proxy::start(bootstrap(
        [
            listener("direct", [direct]),
            listener("limited", [limit, echo()]),
            listener("to_echo", [tcp_proxy("to_echo", "echo")]),
            internal_listener("inner_echo", [echo()]),
        ],
        [cluster("echo", [internal("inner_echo")])],
    ));
    assert_eq!(read_all(&mut proxy.connect("direct")), ("said at once".into(), End::Eof));
    assert_eq!(ask(&mut proxy.connect("to_echo"), "through a hop"), "through a hop");

    let mut first = proxy.connect("limited");
    assert_eq!(ask(&mut first, "hello"), "hello");
    assert_eq!(read_all(&mut proxy.connect("limited")).0, "");
    assert_eq!(proxy.admin().stat("connection_limit.few.limited_connections"), 1);
    assert_eq!(proxy.admin().stat("connection_limit.few.active_connections"), 1);
    drop(first);
    proxy.admin().wait_stat("connection_limit.few.active_connections", 0);
    assert_eq!(ask(&mut proxy.connect("limited"), "again"), "again");
}
