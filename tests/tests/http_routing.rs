//! The HTTP router: where requests go, when they are tried again, how long they may take, and how CONNECT ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Origin, Proxy, With,
    client::{self, End, read_all},
    config::{bootstrap, cluster, extension, file_log, listener, port},
    feature::compare,
    http_client::{self, H2Client, ask, get, request},
    http_config::{accepts_connect, connect_route, hcm, post_route, protocol_options, route, speaks_http2},
    origin::{Record, dead_port, note},
};

/// A listener `entry` with these routes, the cluster `up` at this port, and `dead`, where nobody listens.
fn to(up: u16, routes: impl IntoIterator<Item = Value>) -> Value {
    let dead = cluster("dead", [port(dead_port())]);
    bootstrap([listener("entry", [hcm("entry", routes)])], [cluster("up", [port(up)]), dead])
}

/// Reads the head of a message, and its body if it has a length.
fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// An HTTP/1.1 server that notes each body and gives these answers in turn, the last one again and again; an empty one ends
/// the connection.
fn answers_in_turn(answers: &'static [&'static str]) -> Origin {
    let turn = AtomicUsize::new(0);
    Origin::start(move |stream, record: &Record| {
        let mut stream = BufReader::new(stream);
        while let Some((_, body)) = read_message(&mut stream) {
            note(record, body);
            let answer = answers[turn.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
            if answer.is_empty() || stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// A route whose requests are tried again.
fn retried(fields: Value) -> Value {
    let policy = json!({ "retry_on": "5xx", "retry_back_off": { "base_interval": "0.001s" } }).with(fields);
    let mut route = route("/", "up");
    route["route"]["retry_policy"] = policy;
    route
}

fn post(proxy: &Proxy, body: &str) -> http_client::Reply {
    let length = body.len();
    ask(
        proxy.listener("entry"),
        &format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"),
    )
}

#[test]
fn a_request_is_sent_again_with_its_body_until_a_host_answers() {
    let origin = answers_in_turn(&[UNAVAILABLE, "", OK]);
    let proxy = Proxy::start(to(origin.port(), [retried(json!({ "num_retries": 3 }))]));
    let reply = post(&proxy, "the body");
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    assert_eq!(origin.wait(3), ["the body"; 3]);
    let stats = proxy.admin().stats();
    let counted =
        ["retry.upstream_rq_503", "upstream_rq_200", "upstream_rq_retry", "upstream_rq_retry_success"];
    assert_eq!(counted.map(|name| stats[&format!("cluster.up.{name}")]), [1, 1, 2, 1]);
    assert_eq!(proxy.lines("entry.log", 1), ["200 - via_upstream POST a /"]);
}

#[test]
fn when_no_attempt_is_left_the_last_outcome_is_the_answer() {
    let origin = answers_in_turn(&[""]);
    let proxy = Proxy::start(to(origin.port(), [retried(json!({}))]));
    let reply = post(&proxy, "x");
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.text(),
        "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination"
    );
    let log = "503 URX,UC upstream_reset_before_response_started{connection_termination} POST a /";
    assert_eq!(proxy.lines("entry.log", 1), [log]);
}

#[test]
fn a_body_that_is_too_long_to_keep_is_sent_once() {
    let origin = answers_in_turn(&[UNAVAILABLE]);
    let limited = retried(json!({})).with(json!({ "per_request_buffer_limit_bytes": 4 }));
    let proxy = Proxy::start(to(origin.port(), [limited]));
    assert_eq!(post(&proxy, "too long").status, 503);
    assert_eq!(proxy.admin().stat("cluster.up.retry_or_shadow_abandoned"), 1);
    assert_eq!(origin.record().len(), 1);
}

#[test]
fn a_route_says_how_long_an_answer_may_take() {
    let origin = HttpOrigin::start();
    let mut short = route("/", "up");
    short["route"]["timeout"] = json!("0.1s");
    let proxy = Proxy::start(to(origin.port(), [short]));
    let reply = get(proxy.listener("entry"), "/silent");
    assert_eq!((reply.status, reply.text().as_str()), (504, "upstream request timeout"));
    // One that has begun is broken off.
    assert!(!get(proxy.listener("entry"), "/endless").complete);
    let logged = [
        "504 UT response_timeout GET test.example /silent",
        "200 UT response_timeout GET test.example /endless",
    ];
    assert_eq!(proxy.lines("entry.log", 2), logged);
    proxy.admin().wait_stat("cluster.up.upstream_rq_active", 0);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_rq_timeout"), 2);
}

#[test]
fn each_attempt_may_have_a_time_of_its_own() {
    let origin = HttpOrigin::start();
    let proxy = Proxy::start(to(origin.port(), [retried(json!({ "per_try_timeout": "0.05s" }))]));
    assert_eq!(get(proxy.listener("entry"), "/silent").status, 504);
    assert_eq!(proxy.lines("entry.log", 1), ["504 URX,UT upstream_per_try_timeout GET test.example /silent"]);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_rq_per_try_timeout"), 2);
}

#[test]
fn requests_that_go_nowhere_are_told_why() {
    let origin = HttpOrigin::start();
    let routes = [
        route("/dead", "dead"),
        json!({ "match": { "prefix": "/none" }, "route": { "cluster_header": "x-cluster" } }),
        json!({ "match": { "prefix": "/here" }, "direct_response": { "status": 418, "body": { "inline_string": "tea" } } }),
        json!({ "match": { "prefix": "/moved" }, "redirect": { "host_redirect": "b", "response_code": "FOUND" } }),
        route("/up", "up"),
    ];
    let proxy = Proxy::start(to(origin.port(), routes));
    let entry = proxy.listener("entry");
    let replies: Vec<_> =
        ["/dead", "/none", "/here", "/moved?x", "/other"].map(|path| get(entry, path)).into();
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [503, 503, 418, 302, 404]);
    assert_eq!((replies[2].text().as_str(), replies[3].header("location")), ("tea", "http://b/moved?x"));
    let logged = [
        "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} GET test.example /dead",
        "503 NC cluster_not_found GET test.example /none",
        "418 - direct_response GET test.example /here",
        "302 - direct_response GET test.example /moved?x",
        "404 NR route_not_found GET test.example /other",
    ];
    assert_eq!(proxy.lines("entry.log", 5), logged);
}

#[test]
fn a_circuit_breaker_refuses_what_is_too_much() {
    let origin = HttpOrigin::start();
    let mut config = to(origin.port(), [route("/", "up")]);
    config["static_resources"]["clusters"][0]["circuit_breakers"] =
        json!({ "thresholds": [{ "max_requests": 1 }] });
    let proxy = Proxy::start(config);
    let mut first = proxy.connect("entry");
    first.write_all(b"GET /silent HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    proxy.admin().wait_stat("cluster.up.upstream_rq_active", 1);
    let reply = get(proxy.listener("entry"), "/");
    assert_eq!((reply.status, reply.header("x-envoy-overloaded")), (503, "true"));
    let log = "503 UO upstream_reset_before_response_started{overflow} GET test.example /";
    assert_eq!(proxy.lines("entry.log", 1), [log]);
}

#[test]
fn each_attempt_can_be_logged() {
    const LINE: &str =
        "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESPONSE_FLAGS% sent=%BYTES_SENT% got=%BYTES_RECEIVED%";
    let origin = answers_in_turn(&["", OK]);
    let mut manager = hcm("entry", [retried(json!({}))]);
    manager["typed_config"]["http_filters"][0] = extension(
        "filters.http.router.v3.Router",
        json!({
            "upstream_log": [file_log("attempts.log", LINE)],
            "upstream_log_options": { "flush_upstream_log_on_upstream_stream": true },
        }),
    );
    let proxy =
        Proxy::start(bootstrap([listener("entry", [manager])], [cluster("up", [port(origin.port())])]));
    assert_eq!(post(&proxy, "body").status, 200);
    let logged = [
        "UpstreamPoolReady 0 - sent=0 got=0",
        "UpstreamEnd 0 UC sent=4 got=0",
        "UpstreamPoolReady 0 - sent=0 got=0",
        "UpstreamEnd 200 - sent=4 got=2",
    ];
    assert_eq!(proxy.lines("attempts.log", 4), logged);
}

#[test]
fn a_request_in_http1_goes_to_a_cluster_that_speaks_http2_and_back() {
    let origin = HttpOrigin::start();
    let mut config = to(origin.port(), [route("/", "up")]);
    let up = config["static_resources"]["clusters"][0].take();
    config["static_resources"]["clusters"][0] = up.with(speaks_http2());
    let proxy = Proxy::start(config);
    let entry = proxy.listener("entry");
    let reply = ask(
        entry,
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!((reply.status, reply.text().as_str()), (200, "abc"));
    let reply = H2Client::connect(entry).get("/trailers");
    assert_eq!((reply.text().as_str(), reply.trailer("x-trailer")), ("body", "done"));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_stream_of_a_cluster_may_last_only_so_long() {
    let origin = HttpOrigin::start();
    let mut config = to(origin.port(), [route("/", "up")]);
    let options = protocol_options(json!({
        "common_http_protocol_options": { "max_stream_duration": "0.1s" },
        "explicit_http_config": { "http_protocol_options": {} },
    }));
    let up = config["static_resources"]["clusters"][0].take();
    config["static_resources"]["clusters"][0] = up.with(options);
    let proxy = Proxy::start(config);
    assert_eq!(get(proxy.listener("entry"), "/silent").text(), "upstream max stream duration reached");
    let log = "504 UMSDR upstream_max_stream_duration_reached GET test.example /silent";
    assert_eq!(proxy.lines("entry.log", 1), [log]);
}

const CONNECT: &[u8] = b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n";

/// A listener `entry` that ends CONNECT and sends the bytes to this port.
fn terminator(up: u16, route: Value) -> Value {
    let manager = extension(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        hcm("entry", [route])["typed_config"].clone().with(accepts_connect()),
    );
    bootstrap([listener("entry", [manager])], [cluster("up", [port(up)])])
}

/// Opens a tunnel.
fn open(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect("entry");
    client.write_all(CONNECT).unwrap();
    // What comes behind the head is the test's to read.
    let mut reader = BufReader::with_capacity(1, client.try_clone().unwrap());
    let (head, _) = read_message(&mut reader).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    client
}

#[test]
fn a_client_that_has_finished_gets_its_answer_through_connect() {
    let origin = Origin::start(|mut stream, record| {
        let mut sent = String::new();
        let _ = stream.read_to_string(&mut sent);
        note(record, sent);
        let _ = stream.write_all(b"the answer");
    });
    let ends = compare("connect_half_close", &terminator(origin.port(), connect_route("up")), |proxy| {
        let mut client = open(proxy);
        client.write_all(b"a question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (text, end) = read_all(&mut client);
        assert_eq!(end, End::Eof);
        (text, proxy.lines("entry.log", 1)[0].clone())
    });
    let answered = ("the answer".to_owned(), "200 DC downstream_remote_disconnect CONNECT a:1 -".to_owned());
    let cut = (String::new(), "200 DC downstream_remote_disconnect CONNECT a:1 -".to_owned());
    assert_eq!(ends, [answered, cut.clone(), cut]);
    assert!(origin.wait(3).iter().all(|sent| sent == "a question"));
}

#[test]
fn a_client_may_go_on_after_the_host_of_a_connect_has_finished() {
    let origin = Origin::start(|mut stream, record| {
        let _ = stream.write_all(b"all of it");
        let _ = stream.shutdown(Shutdown::Write);
        let mut sent = String::new();
        let _ = stream.read_to_string(&mut sent);
        note(record, sent);
    });
    let config = terminator(origin.port(), connect_route("up"));
    let ends = compare("connect_half_close", &config, |proxy| {
        let mut client = open(proxy);
        let said = read_all(&mut client);
        let _ = client.write_all(b"late");
        let _ = client.shutdown(Shutdown::Write);
        proxy.lines("entry.log", 1);
        said
    });
    assert_eq!(ends, [(); 3].map(|()| ("all of it".to_owned(), End::Eof)));
    assert_eq!(origin.wait(3), ["late", "", ""]);
}

#[test]
fn a_client_that_resets_a_connect_frees_it_on_the_way() {
    let origin = Origin::stalled();
    let proxy = Proxy::start(terminator(origin.port(), connect_route("up")));
    let client = open(&proxy);
    proxy.admin().wait_stat("cluster.up.upstream_cx_active", 1);
    client::reset(client);
    proxy.admin().wait_stat("cluster.up.upstream_cx_active", 0);
    assert_eq!(proxy.lines("entry.log", 1), ["200 DC downstream_remote_disconnect CONNECT a:1 -"]);
}

#[test]
fn a_host_that_resets_a_connect_resets_its_client() {
    let origin = Origin::reset_after_data();
    let proxy = Proxy::start(terminator(origin.port(), connect_route("up")));
    let mut client = open(&proxy);
    client.write_all(b"x").unwrap();
    assert_eq!(read_all(&mut client).1, End::Reset);
    let log = "200 UC upstream_reset_after_response_started{connection_termination} CONNECT a:1 -";
    assert_eq!(proxy.lines("entry.log", 1), [log]);
}

#[test]
fn a_post_can_be_a_stream_of_raw_bytes() {
    let origin = Origin::echo();
    let proxy = Proxy::start(terminator(origin.port(), post_route("up")));
    let reply = H2Client::connect(proxy.listener("entry")).ask(request("POST", "/"), "raw");
    assert_eq!((reply.status, reply.text().as_str(), reply.complete), (200, "raw", true));
}

#[test]
fn the_host_of_a_connect_learns_who_the_client_is() {
    let origin = Origin::echo();
    let mut told = connect_route("up");
    told["route"]["upgrade_configs"][0]["connect_config"] =
        json!({ "proxy_protocol_config": { "version": "V1" } });
    let proxy = Proxy::start(terminator(origin.port(), told));
    let mut client = open(&proxy);
    let from = client.local_addr().unwrap().port();
    client.shutdown(Shutdown::Write).unwrap();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {}\r\n", proxy.listener("entry").port());
    assert_eq!(read_all(&mut client).0, expected);
}
