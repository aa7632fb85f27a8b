//! `tcp_proxy` with `tunneling_config`: what goes over the wire, how tunnels end, and what happens without one.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, With,
    client::{self, End, ask, read_all},
    config::{bootstrap, cluster, filter_state, listener, log_to, port, set_filter_state, tcp_proxy},
    eventually,
    feature::compare,
    h2_proxy::{Behaviour, H2Proxy},
    http_config::{speaks_http2, tunneling},
    origin::{Record, note},
    payload,
};

const HOST: &str = "target.example:443";
const LOG: &str = "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%";

/// A TCP listener `entry` whose connections are tunnelled to the proxy at this port.
fn tunnel_to(proxy: u16, fields: Value) -> Value {
    let tunnel = tcp_proxy("entry", "proxy").with(tunneling(HOST, fields)).with(log_to("entry.log", LOG));
    bootstrap([listener("entry", [tunnel])], [cluster("proxy", [port(proxy)])])
}

/// The same over HTTP/2.
fn tunnel_over_http2(proxy: u16, fields: Value) -> Value {
    let mut config = tunnel_to(proxy, fields);
    let cluster = config["static_resources"]["clusters"][0].take();
    config["static_resources"]["clusters"][0] = cluster.with(speaks_http2());
    config
}

/// Reads the head of a request.
fn read_head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|count| count > 0) {}
    head
}

/// An HTTP/1.1 proxy that notes the head of the request, answers with this head, and serves the rest.
fn http1_proxy(
    answer: &'static str,
    serve: impl Fn(BufReader<TcpStream>, &Record) + Send + Sync + 'static,
) -> Origin {
    Origin::start(move |stream, record| {
        let mut stream = BufReader::new(stream);
        note(record, read_head(&mut stream));
        if stream.get_mut().write_all(answer.as_bytes()).is_ok() {
            serve(stream, record);
        }
    })
}

/// An HTTP/1.1 proxy that opens each tunnel, notes what comes to its end, and then answers.
fn http1_that_answers_late() -> Origin {
    http1_proxy("HTTP/1.1 200 OK\r\n\r\n", |mut stream, record| {
        let mut sent = String::new();
        let _ = stream.read_to_string(&mut sent);
        note(record, sent);
        let _ = stream.get_mut().write_all(b"the answer");
    })
}

#[test]
fn requests_that_open_tunnels_are_those_of_envoy() {
    let origin = http1_that_answers_late();
    let fields = json!({ "headers_to_add": [{ "header": { "key": "x-from", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" } }] });
    let proxy = Proxy::start(tunnel_to(origin.port(), fields));
    drop(proxy.connect("entry"));
    let head = "CONNECT target.example:443 HTTP/1.1\r\nhost: target.example:443\r\nx-from: 127.0.0.1\r\n\r\n";
    assert_eq!(origin.wait(1)[0], head);

    let id = json!({ "request_id_extension": { "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig" } } });
    let with_id = tunnel_to(origin.port(), json!({ "use_post": true, "post_path": "/p" }).with(id));
    let proxy = Proxy::start(with_id);
    drop(proxy.connect("entry"));
    let seen = origin.wait(3);
    let (before, after) = seen.last().unwrap().split_once("x-request-id: ").unwrap();
    assert_eq!(before, "POST /p HTTP/1.1\r\nhost: target.example:443\r\n");
    assert_eq!(&after[36..], "\r\ntransfer-encoding: chunked\r\n\r\n");
}

#[test]
fn answer_of_the_proxy_reaches_the_log() {
    let origin = http1_proxy("HTTP/1.1 200 OK\r\nx-a: 1\r\nx-a: 2\r\n\r\n", |_, _| {});
    let mut config = tunnel_to(origin.port(), json!({ "propagate_response_headers": true }));
    let line = "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers)%";
    let filters = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"];
    let log = log_to("entry.log", line)["access_log"].clone();
    filters[0]["typed_config"]["access_log"] = log;
    let proxy = Proxy::start(config);
    drop(proxy.connect("entry"));
    let expected = r#"{"headers":[{"key":":status","value":"200"},{"key":"x-a","value":"1"},{"key":"x-a","value":"2"}]}"#;
    assert_eq!(proxy.lines("entry.log", 1), [expected]);
}

#[test]
fn tunnels_over_http2_share_a_connection() {
    let far = H2Proxy::start(Behaviour::Answers(200));
    let proxy = Proxy::start(tunnel_over_http2(far.port(), json!({})));
    let mut clients: Vec<_> = (0..10).map(|_| proxy.connect("entry")).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(ask(client, &format!("client {at}")), format!("client {at}"));
    }
    assert_eq!((far.connections(), far.open_streams()), (1, 10));
    assert_eq!(far.requests()[0], format!("CONNECT {HOST}"));
    drop(clients);
    eventually("all streams end", || far.open_streams() == 0);
    proxy.admin().wait_quiet();
}

#[test]
fn bytes_cross_every_kind_of_tunnel_unchanged() {
    const TOTAL: usize = 5 << 20;
    let http1 = http1_proxy("HTTP/1.1 200 OK\r\n\r\n", |mut stream, _| {
        let mut writer = stream.get_ref().try_clone().unwrap();
        let _ = std::io::copy(&mut stream, &mut writer);
        let _ = writer.shutdown(Shutdown::Write);
    });
    let far = H2Proxy::start(Behaviour::Answers(200));
    for (name, config) in [
        ("HTTP/1.1 CONNECT", tunnel_to(http1.port(), json!({}))),
        ("HTTP/2 CONNECT", tunnel_over_http2(far.port(), json!({}))),
        ("HTTP/2 POST", tunnel_over_http2(far.port(), json!({ "use_post": true }))),
    ] {
        let proxy = Proxy::start(config);
        assert_eq!(payload::exchange(proxy.connect("entry"), TOTAL), TOTAL, "{name}");
        proxy.admin().wait_quiet();
        let line = format!("- - rx={TOTAL} tx={TOTAL} attempts=1");
        assert_eq!(proxy.lines("entry.log", 1), [line], "{name}");
    }
}

#[test]
fn client_may_go_on_when_the_proxy_finishes_first() {
    for fields in [json!({}), json!({ "use_post": true })] {
        let far = H2Proxy::start(Behaviour::FinishesFirst);
        let proxy = Proxy::start(tunnel_over_http2(far.port(), fields));
        let mut client = proxy.connect("entry");
        assert_eq!(read_all(&mut client), (String::new(), End::Eof));
        client.write_all(b"still here").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        eventually("all of it came", || far.received() == "still here".len());
        assert_eq!(proxy.lines("entry.log", 1), ["- - rx=10 tx=0 attempts=1"]);
    }
}

#[test]
fn refused_tunnel_ends_the_client_without_a_byte_of_it_sent() {
    let origin = http1_proxy("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", |mut stream, record| {
        let mut sent = String::new();
        let _ = stream.read_to_string(&mut sent);
        note(record, sent);
    });
    let mut config = tunnel_to(origin.port(), json!({}));
    let filters = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"];
    filters[0]["typed_config"]["max_connect_attempts"] = json!(2);
    let proxy = Proxy::start(config);
    let mut client = proxy.connect("entry");
    let _ = client.write_all(b"secret");
    assert_eq!(read_all(&mut client).0, "");
    let seen = origin.wait(4);
    assert_eq!(seen.iter().filter(|it| it.is_empty()).count(), 2, "nothing follows the requests: {seen:?}");
    let lines = proxy.lines("entry.log", 1);
    assert!(
        lines[0].starts_with("UF,URX tunnel_response:403 ") && lines[0].ends_with("attempts=2"),
        "{lines:?}"
    );
    proxy.admin().wait_idle();
}

#[test]
fn filter_state_turns_the_tunnel_off() {
    let origin = Origin::echo();
    let mut config = tunnel_to(origin.port(), json!({}));
    let off = filter_state(
        "envoy.tcp_proxy.disable_tunneling",
        "envoy.tcp_proxy.disable_tunneling",
        "true",
        "NONE",
    );
    let filters = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"];
    let tunnel = filters[0].take();
    *filters = json!([set_filter_state([off]), tunnel]);
    let proxy = Proxy::start(config);
    assert_eq!(ask(&mut proxy.connect("entry"), "plain"), "plain");
}

#[test]
fn client_that_finishes_first_gets_its_answer_over_http1() {
    let origin = http1_that_answers_late();
    let seen = |proxy: &Proxy| {
        let mut client = proxy.connect("entry");
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = read_all(&mut client);
        proxy.admin().wait_idle();
        answer
    };
    let [ours, off, envoys] = compare("tunnel_half_close", &tunnel_to(origin.port(), json!({})), seen);
    assert_eq!(ours, ("the answer".to_owned(), End::Eof));
    assert_eq!([off, envoys], [(); 2].map(|()| (String::new(), End::Eof)));
    assert!(origin.wait(6).iter().all(|it| it.starts_with("CONNECT") || it == "question"));
}

#[test]
fn tunnel_that_is_not_answered_fails_in_time() {
    let silent = Origin::start(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let mut config = tunnel_to(silent.port(), json!({}));
    config["static_resources"]["clusters"][0]["connect_timeout"] = json!("0.2s");
    // Where there is no other limit, this one ends it.
    let filters = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"];
    filters[0]["typed_config"]["idle_timeout"] = json!("1.5s");
    let seen = |proxy: &Proxy| {
        let started = Instant::now();
        assert_eq!(read_all(&mut proxy.connect("entry")).0, "");
        (started.elapsed() < Duration::from_secs(1), proxy.lines("entry.log", 1).remove(0))
    };
    let idle = (false, "UF - rx=0 tx=0 attempts=1".to_owned());
    let timeout = (true, "UF,URX tunnel_response_timeout rx=0 tx=0 attempts=1".to_owned());
    assert_eq!(compare("tunnel_response_timeout", &config, seen), [timeout, idle.clone(), idle]);
}

#[test]
fn any_success_opens_a_tunnel_over_http2() {
    let far = H2Proxy::start(Behaviour::Answers(202));
    let echoes = |proxy: &Proxy| {
        let mut client = proxy.connect("entry");
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).is_ok() && &answer == b"hello"
    };
    let config = tunnel_over_http2(far.port(), json!({}));
    assert_eq!(compare("tunnel_any_success", &config, echoes), [true, false, false]);
}

#[test]
fn client_that_resets_frees_the_stream_of_its_tunnel() {
    for behaviour in [Behaviour::Answers(200), Behaviour::Silent, Behaviour::Stalls] {
        let far = H2Proxy::start(behaviour);
        let proxy = Proxy::start(tunnel_over_http2(far.port(), json!({})));
        let mut client = proxy.connect("entry");
        client.write_all(b"hello").unwrap();
        eventually("the stream is there", || far.open_streams() == 1);
        client::reset(client);
        eventually("it is gone", || far.open_streams() == 0);
        assert_eq!(far.resets(), 1, "{behaviour:?}");
        proxy.admin().wait_quiet();
    }
}
