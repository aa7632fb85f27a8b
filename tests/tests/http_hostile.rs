//! Requests over HTTP/1 that are not nice: smuggling, bombs, broken framing. What is expected is what Envoy 1.40 answered.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, With,
    client::connect,
    config::{bootstrap, cluster, listener, port},
    eventually,
    http_config::{accepts_connect, connect_route, hcm, route},
    origin::{Record, note},
};

/// An origin that answers 200 to whatever it takes for a request, and notes the request lines.
fn credulous_origin() -> Origin {
    Origin::start(|stream, record| {
        // An error ends the connection.
        let _ = serve(stream, record);
    })
}

fn serve(mut stream: TcpStream, record: &Record) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let line = |reader: &mut BufReader<TcpStream>| -> std::io::Result<String> {
        let mut bytes = Vec::new();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    loop {
        let request = line(&mut reader)?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let field = line(&mut reader)?.to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            chunked |= field == "transfer-encoding: chunked";
            length = field.strip_prefix("content-length: ").map_or(length, |it| it.parse().unwrap_or(0));
        }
        if chunked {
            loop {
                let size = u64::from_str_radix(&line(&mut reader)?, 16).unwrap_or(0);
                if size == 0 {
                    break;
                }
                reader.by_ref().take(size + 2).read_to_end(&mut Vec::new())?;
            }
            while !line(&mut reader)?.is_empty() {}
        }
        reader.by_ref().take(length).read_to_end(&mut Vec::new())?;
        note(record, request);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    }
}

fn start(origin: &Origin, fields: Value) -> Proxy {
    let entry = hcm("entry", [connect_route("up"), route("/", "up")]).with(accepts_connect()).with(fields);
    Proxy::start(bootstrap([listener("entry", [entry])], [cluster("up", [port(origin.port())])]))
}

/// The statuses that come back for these bytes. Where all requests are served, the connection stays open, and is asked once
/// more; else it ends.
fn statuses(address: SocketAddr, bytes: &[u8], expected: usize) -> Vec<u16> {
    let mut stream = connect(address);
    // The proxy may refuse before it has everything.
    let _ = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    let mut statuses = Vec::new();
    while statuses.len() < expected {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
        // A body without a line end may stand before the next answer.
        let status = line.split_once("HTTP/1.1 ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
        statuses.extend(status);
    }
    statuses
}

/// A request and the statuses of its answers.
type Case = (&'static [u16], &'static [u8]);

const CASES: &[Case] = &[
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 4\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 5\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -4\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x4\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4 4\r\n\r\nabcd"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    (&[501], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (&[501], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n"),
    (&[501], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (&[501], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (&[501], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (&[501], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
    (&[426], b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX A: 1\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\n: 1\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX\x01A: 1\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX\xffA: 1\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nnocolon\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\x00b\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\x01b\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\xffb\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\x7fb\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\nHost: h\n\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    (&[200], b"GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n"),
    (&[200], b"GET http://u@a/x HTTP/1.1\r\nHost: b\r\n\r\n"),
    (&[200], b"GET https://a/x HTTP/1.1\r\nHost: b\r\n\r\n"),
    (&[200], b"GET http://a HTTP/1.1\r\nHost: b\r\n\r\n"),
    (&[400], b"GET ftp://a/x HTTP/1.1\r\nHost: b\r\n\r\n"),
    (&[404], b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n"),
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nab\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n"),
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nab\r\n0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabX0\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n"),
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-t: 1\r\n\r\n"),
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\ncontent-length: 1\r\n\r\n"),
    (&[400], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nbad trailer\r\n\r\n"),
    (&[400], b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: 4\r\n\r\nabcd"),
    (&[200], b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: 0\r\n\r\n"),
    (&[501], b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (&[400], b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"CONNECT http://h:443 HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"CONNECT h:0 HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"CONNECT h:99999 HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[426], b"GET / HTTP/1.0\r\nHost: h\r\n\r\n"),
    (&[426], b"GET /\r\n"),
    (&[426], b"GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
    (&[426], b"GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
    (&[426], b"GET / HTTP/3.0\r\nHost: h\r\n\r\n"),
    (&[400], b"GET / http/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"GET / HTTP/1.10\r\nHost: h\r\n\r\n"),
    (&[400], b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"get / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"GET / x HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b" GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (&[100, 200], b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"),
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nExpect: foo\r\nContent-Length: 2\r\n\r\nab"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    (&[403], b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    (&[400], b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[400], b"GET foo HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nProxy-Authorization: x\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nTE: gzip\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200, 200, 200], b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nX_A: 1\r\n\r\n"),
    (&[400], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (&[400], b"hello world\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nx-envoy-internal: true\r\nx-envoy-original-path: /z\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-request-id: abc\r\n\r\n"),
    (&[400], b"GET / HTTP/1.1\r\nHost: h\r\n:path: /evil\r\n\r\n"),
];

/// What Envoy serves (all but one), and this proxy refuses: there is more than one way to read it.
const STRICTER: &[Case] = &[
    (&[200], b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n 2\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\rb\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    (&[400], b"GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"GET  /  HTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n"),
    (&[200], b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n"),
    (&[200], b"GET /\"<>\\^`{|} HTTP/1.1\r\nHost: h\r\n\r\n"),
];

#[test]
fn odd_requests_are_answered_as_envoy_answers_them() {
    let origin = credulous_origin();
    let proxy = start(&origin, json!({}));
    let address = proxy.listener("entry");
    let mut different = Vec::new();
    for (expected, bytes) in CASES.iter().chain(STRICTER) {
        let seen = statuses(address, bytes, expected.len());
        let stricter = STRICTER.iter().any(|it| it.1 == *bytes) && [400, 404].contains(&seen[0]);
        if seen != *expected && !stricter {
            different.push(format!("{}: {seen:?}, not {expected:?}", bytes.escape_ascii()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(origin.record().iter().all(|line| !line.contains("smuggled")), "{:?}", origin.record());
    proxy.admin().wait_quiet();
    // Whoever is refused is told so once, and counted.
    let refused = CASES.iter().filter(|(expected, _)| expected[0] >= 400).count() as u64;
    let count = |class: &str| proxy.admin().stat(&format!("http.entry.downstream_rq_{class}"));
    let counted = count("4xx") + count("5xx");
    assert!((refused..=refused + STRICTER.len() as u64).contains(&counted), "{counted} of {refused}");
}

fn get(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}

#[test]
fn large_heads_are_served_up_to_a_limit() {
    let origin = credulous_origin();
    let proxy = start(&origin, json!({}));
    let address = proxy.listener("entry");
    let line =
        |length: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(length)).into_bytes();
    let many =
        |count: usize| get(&(0..count).fold(String::new(), |text, at| text + &format!("X-{at}: a\r\n")));
    let trailers = format!("2\r\nab\r\n0\r\n{}\r\n", format!("x-t: {}\r\n", "a".repeat(1000)).repeat(91));
    for (name, bytes, expected) in [
        ("a line of 50 kB", line(50_000), 200),
        ("a line of 70 kB", line(70_000), 431),
        ("a header of 59 kB", get(&format!("X-A: {}\r\n", "a".repeat(59_000))), 200),
        ("a header of 70 kB", get(&format!("X-A: {}\r\n", "a".repeat(70_000))), 431),
        ("100 headers", many(99), 200),
        ("101 headers", many(100), 431),
        ("1001 headers", many(1000), 431),
        ("trailers of 91 kB", chunked(&trailers), 400),
    ] {
        let seen = statuses(address, &bytes, 1);
        // Of trailers Envoy says 431 as well.
        assert!(seen == [expected] || expected == 400 && seen == [431], "{name}: {seen:?}");
    }
    proxy.admin().wait_quiet();
}

#[test]
fn a_request_in_pieces_of_one_byte_is_a_request() {
    let origin = credulous_origin();
    let proxy = start(&origin, json!({}));
    let mut stream = proxy.connect("entry");
    for byte in chunked("3;ext=1\r\nabc\r\n0\r\nx-t: 1\r\n\r\n") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(underpass_tests::client::read(&mut stream, 15), "HTTP/1.1 200 OK");
}

#[test]
fn slow_heads_and_slow_requests_time_out() {
    let origin = credulous_origin();
    let proxy = start(&origin, json!({ "request_headers_timeout": "0.3s", "request_timeout": "1s" }));
    let address = proxy.listener("entry");
    assert_eq!(statuses(address, b"GET / HTTP/1.1\r\nHost: h\r\nX-", 1), [408]);
    assert_eq!(statuses(address, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc", 1), [408]);
    assert_eq!(proxy.admin().stat("http.entry.downstream_rq_header_timeout"), 1);
    assert_eq!(proxy.admin().stat("http.entry.downstream_rq_timeout"), 1);
    proxy.admin().wait_quiet();
}

#[test]
fn thousands_of_broken_connections_leave_nothing_behind() {
    let origin = credulous_origin();
    let proxy = start(&origin, json!({}));
    let address = proxy.listener("entry");
    let storm = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..400 {
            let (_, bytes) = CASES[random.usize(..CASES.len())];
            let mut stream = connect(address);
            let mut bytes = bytes.to_vec();
            for _ in 0..random.usize(..3) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            // Some break off.
            bytes.truncate(random.usize(1..=bytes.len()));
            let _ = stream.write_all(&bytes);
            if random.bool() {
                underpass_tests::client::reset(stream);
            }
        }
    };
    (0..3).for_each(storm);
    proxy.admin().wait_quiet();
    let (descriptors, memory) = (proxy.descriptors(), proxy.memory());
    (3..7).for_each(storm);
    proxy.admin().wait_quiet();
    eventually("no descriptor is left open", || proxy.descriptors() <= descriptors + 2);
    let grown = proxy.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes more after the storm");
    assert_eq!(statuses(address, &get(""), 1), [200]);
    assert!(!proxy.log().contains("panic"), "{}", proxy.log());
}
