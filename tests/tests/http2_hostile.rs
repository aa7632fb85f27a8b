//! Frames of HTTP/2 that are not nice: broken requests, floods, stalled windows. What is expected is what Envoy 1.40 did, or
//! something stricter.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Proxy, With,
    config::{bootstrap, cluster, listener, port},
    eventually,
    h2_peer::{END_HEADERS, END_STREAM, H2Peer, encode, frame, get, headers_block},
    http_client::H2Client,
    http_config::{accepts_connect, connect_route, hcm, route, speaks_http2},
};

fn start(origin: &HttpOrigin, fields: Value) -> Proxy {
    let entry = hcm("entry", [connect_route("up"), route("/", "up")]).with(accepts_connect()).with(fields);
    let up = cluster("up", [port(origin.port())]).with(speaks_http2());
    Proxy::start(bootstrap([listener("entry", [entry])], [up]))
}

/// What became of stream 1: its status, `reset` or `goaway` with the error code, or `closed`.
fn outcome(peer: &mut H2Peer) -> String {
    let seen = peer.find(|frame| {
        frame.stream == 1 && matches!(frame.kind, frame::HEADERS | frame::RST_STREAM)
            || frame.kind == frame::GOAWAY
    });
    let Some(seen) = seen else {
        return if peer.has_ended() { "closed" } else { "nothing" }.to_owned();
    };
    match (seen.kind, seen.error_code()) {
        (frame::HEADERS, _) => seen.status().map_or("?".to_owned(), |status| status.to_string()),
        (frame::RST_STREAM, Some(code)) => format!("reset {code}"),
        (_, code) => format!("goaway {}", code.unwrap_or(u32::MAX)),
    }
}

fn is(seen: &str, expected: &str) -> bool {
    let refused = ["reset", "goaway", "closed", "4"].iter().any(|it| seen.starts_with(it));
    match expected {
        REFUSED | "nothing" => refused || seen == expected,
        DROPPED => refused || seen == "200",
        _ => seen == expected,
    }
}

/// Headers of a request, made from those of a GET: `name=value` adds or replaces, `-name` takes away.
fn changed(changes: &[&str]) -> Vec<(String, String)> {
    let mut headers: Vec<_> = get("/").map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for change in changes {
        if let Some(name) = change.strip_prefix('-') {
            headers.retain(|(each, _)| each != name);
        } else {
            let (name, value) = change.split_once('=').unwrap();
            match headers.iter_mut().find(|(each, _)| each == name && name.starts_with(':')) {
                Some(present) => value.clone_into(&mut present.1),
                None => headers.push((name.to_owned(), value.to_owned())),
            }
        }
    }
    headers
}

/// Whatever says no: the stream is reset, the connection ends, with a GOAWAY or without, or the answer says so.
const REFUSED: &str = "refused";

/// Envoy refuses it, and this proxy takes no notice of the part that should not be there: nobody upstream sees it.
const DROPPED: &str = "refused, or a part is dropped";

/// What is changed about a request without a body, and what became of it.
const HEADERS: &[(&[&str], &str)] = &[
    (&[], "200"),
    (&["-:path"], REFUSED),
    (&["-:method"], REFUSED),
    (&["-:scheme"], REFUSED),
    (&["-:authority"], REFUSED),
    (&["-:authority", "host=h"], "200"),
    (&["host=other"], "200"),
    (&[":path="], REFUSED),
    (&[":path=x"], REFUSED),
    (&[":path=*"], REFUSED),
    (&[":path=/a b"], REFUSED),
    (&[":path=/a\u{1}"], REFUSED),
    (&[":path=/a#b"], DROPPED),
    (&[":method="], REFUSED),
    (&[":method=GE T"], REFUSED),
    (&[":method=BREW"], "200"),
    (&[":scheme="], DROPPED),
    (&[":scheme=ftp"], "200"),
    (&[":scheme=HTTP"], "200"),
    (&[":authority="], REFUSED),
    (&[":authority=a b"], REFUSED),
    (&[":authority=user@a"], REFUSED),
    (&[":unknown=x"], REFUSED),
    (&[":status=200"], REFUSED),
    (&["X-Upper=1"], REFUSED),
    (&["x a=1"], REFUSED),
    (&["=1"], REFUSED),
    (&["x-v=a\rb"], REFUSED),
    (&["x-v=a\nb"], REFUSED),
    (&["x-v=a\0b"], REFUSED),
    (&["x-v= a "], "200"),
    (&["connection=close"], REFUSED),
    (&["transfer-encoding=chunked"], REFUSED),
    (&["keep-alive=1"], REFUSED),
    (&["proxy-connection=1"], REFUSED),
    (&["upgrade=websocket"], REFUSED),
    (&["te=trailers"], "200"),
    (&["te=gzip"], REFUSED),
    (&["content-length=4"], REFUSED),
    (&["content-length=0"], "200"),
    (&["content-length=x"], REFUSED),
    (&["content-length=-1"], REFUSED),
    (&[":method=POST", "content-length=4"], REFUSED),
    (&[":method=CONNECT", "-:path", "-:scheme"], "200"),
    (&[":method=CONNECT", "-:path", "-:scheme", ":authority=a:1"], "200"),
    (&[":method=CONNECT"], REFUSED),
    (&[":protocol=websocket"], REFUSED),
    (&[":method=CONNECT", ":protocol=websocket"], REFUSED),
];

#[test]
fn odd_headers_are_answered_as_envoy_answers_them() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let address = proxy.listener("entry");
    let mut different = Vec::new();
    for (changes, expected) in HEADERS {
        let headers = changed(changes);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut peer = H2Peer::connect(address);
        peer.request(1, &headers, true);
        let seen = outcome(&mut peer);
        if !is(&seen, expected) {
            different.push(format!("{changes:?}: {seen}, not {expected}"));
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
    proxy.admin().wait_quiet();
}

/// Frames after the settings, and what becomes of stream 1 or of the connection.
fn frames() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let block = headers_block(&get("/"));
    let request = |stream: u32| encode(frame::HEADERS, END_HEADERS | END_STREAM, stream, &block);
    let open = || encode(frame::HEADERS, END_HEADERS, 1, &headers_block(&get("/sink")));
    let one = |kind, flags, stream, payload: &[u8]| encode(kind, flags, stream, payload);
    vec![
        ("a request", request(1), "200"),
        ("an even stream", request(2), REFUSED),
        ("stream 0", request(0), REFUSED),
        ("a stream below the last", [request(3), request(1)].concat(), "nothing"),
        ("DATA on an idle stream", one(frame::DATA, END_STREAM, 1, b"x"), REFUSED),
        ("DATA on stream 0", one(frame::DATA, END_STREAM, 0, b"x"), REFUSED),
        ("DATA after the end", [request(1), one(frame::DATA, END_STREAM, 1, b"x")].concat(), REFUSED),
        ("HEADERS after the end", [request(1), request(1)].concat(), REFUSED),
        ("more padding than frame", [open(), one(frame::DATA, 8, 1, &[200, 1, 2])].concat(), REFUSED),
        ("a frame that is too large", one(frame::DATA, 0, 1, &[0; 20_000]), REFUSED),
        ("RST_STREAM of an idle stream", one(frame::RST_STREAM, 0, 1, &[0, 0, 0, 8]), REFUSED),
        ("RST_STREAM of 3 bytes", [open(), one(frame::RST_STREAM, 0, 1, &[0, 0, 8])].concat(), REFUSED),
        ("WINDOW_UPDATE by 0 of the connection", one(frame::WINDOW_UPDATE, 0, 0, &[0; 4]), REFUSED),
        ("WINDOW_UPDATE by 0", [open(), one(frame::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), REFUSED),
        ("a window that overflows", one(frame::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]), REFUSED),
        (
            "a stream's window that overflows",
            [open(), one(frame::WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])].concat(),
            REFUSED,
        ),
        ("WINDOW_UPDATE of an idle stream", one(frame::WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1]), REFUSED),
        ("SETTINGS on a stream", one(frame::SETTINGS, 0, 1, &[]), REFUSED),
        ("SETTINGS of 5 bytes", one(frame::SETTINGS, 0, 0, &[0; 5]), REFUSED),
        (
            "an acknowledgement with settings",
            one(frame::SETTINGS, END_STREAM, 0, &[0, 3, 0, 0, 0, 1]),
            REFUSED,
        ),
        ("a window of 2^31", one(frame::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), REFUSED),
        ("a frame size of 1", one(frame::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), REFUSED),
        ("push of 2", one(frame::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), REFUSED),
        ("PUSH_PROMISE", [open(), one(frame::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])].concat(), REFUSED),
        ("PING of 7 bytes", one(frame::PING, 0, 0, &[0; 7]), REFUSED),
        ("PING on a stream", one(frame::PING, 0, 1, &[0; 8]), REFUSED),
        ("GOAWAY on a stream", one(frame::GOAWAY, 0, 1, &[0; 8]), REFUSED),
        ("CONTINUATION without HEADERS", one(frame::CONTINUATION, END_HEADERS, 1, &block), REFUSED),
        (
            "DATA within a block of headers",
            [one(frame::HEADERS, 0, 1, &block), one(frame::DATA, 0, 1, b"x")].concat(),
            REFUSED,
        ),
        (
            "a block in two parts",
            [
                one(frame::HEADERS, END_STREAM, 1, &block[..9]),
                one(frame::CONTINUATION, END_HEADERS, 1, &block[9..]),
            ]
            .concat(),
            "200",
        ),
        (
            "HPACK that is none",
            one(frame::HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0xff, 0xff]),
            REFUSED,
        ),
        (
            "a table that is too large",
            one(
                frame::HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3f, 0xe1, 0xff, 0x03][..], &block].concat(),
            ),
            REFUSED,
        ),
        (
            "a stream that depends on itself",
            one(frame::HEADERS, END_HEADERS | END_STREAM | 0x20, 1, &[&[0, 0, 0, 1, 0][..], &block].concat()),
            REFUSED,
        ),
        ("an unknown frame", [one(0x77, 0, 0, b"x"), request(1)].concat(), "200"),
        (
            "trailers without END_STREAM",
            [open(), encode(frame::HEADERS, END_HEADERS, 1, &headers_block(&[("x", "y")]))].concat(),
            REFUSED,
        ),
        (
            "trailers with a pseudo-header",
            [open(), encode(frame::HEADERS, END_HEADERS | END_STREAM, 1, &headers_block(&[(":path", "/y")]))]
                .concat(),
            DROPPED,
        ),
        (
            "trailers",
            [open(), encode(frame::HEADERS, END_HEADERS | END_STREAM, 1, &headers_block(&[("x", "y")]))]
                .concat(),
            "200",
        ),
        (
            "a body longer than announced",
            [
                encode(
                    frame::HEADERS,
                    END_HEADERS,
                    1,
                    &headers_block(&[&get("/sink")[..], &[("content-length", "2")]].concat()),
                ),
                one(frame::DATA, END_STREAM, 1, b"abc"),
            ]
            .concat(),
            REFUSED,
        ),
        (
            "a body shorter than announced",
            [
                encode(
                    frame::HEADERS,
                    END_HEADERS,
                    1,
                    &headers_block(&[&get("/sink")[..], &[("content-length", "4")]].concat()),
                ),
                one(frame::DATA, END_STREAM, 1, b"abc"),
            ]
            .concat(),
            REFUSED,
        ),
    ]
}

#[test]
fn odd_frames_are_answered_as_envoy_answers_them() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let address = proxy.listener("entry");
    let mut different = Vec::new();
    for (name, bytes, expected) in frames() {
        let mut peer = H2Peer::connect(address);
        peer.write(&bytes);
        // Its answer tells that nothing else is to come.
        peer.send(frame::PING, 0, 0, b"whatever");
        let seen = outcome(&mut peer);
        if !is(&seen, expected) {
            different.push(format!("{name}: {seen}, not {expected}"));
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
    proxy.admin().wait_quiet();
}

/// Sends frames until the connection ends, at most that many; how many were taken.
fn flood(peer: &mut H2Peer, most: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    (0..most).find(|at| !peer.write_all(&next(*at))).unwrap_or(most)
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    encode(frame::HEADERS, END_HEADERS | END_STREAM, stream, &headers_block(&get(path)))
}

/// What a flood leaves behind: nothing, and a proxy that serves others.
#[track_caller]
fn is_unharmed(proxy: &Proxy, memory_before: u64) {
    proxy.admin().wait_quiet();
    assert_eq!(H2Client::connect(proxy.listener("entry")).get("/bytes/5").text(), "bbbbb");
    let grown = proxy.memory().saturating_sub(memory_before);
    assert!(grown < 48 << 20, "{grown} bytes more after the flood");
    assert!(!proxy.log().contains("panic"), "{}", proxy.log());
}

#[test]
fn rapid_reset_ends_the_connection() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let memory = proxy.memory();
    let mut peer = H2Peer::connect(proxy.listener("entry"));
    let taken = flood(&mut peer, 20_000, |at| {
        [request(2 * at + 1, "/silent"), encode(frame::RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8])].concat()
    });
    assert!(peer.end().is_some(), "still open after {taken} resets");
    drop(peer);
    is_unharmed(&proxy, memory);
    eventually("the origin sees no request any more", || origin.open_requests() == 0);
}

#[test]
fn resets_of_requests_that_ran_for_a_while_are_no_attack() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let mut peer = H2Peer::connect(proxy.listener("entry"));
    for at in 0..100 {
        peer.get(2 * at + 1, "/bytes/1");
        assert_eq!(peer.status(2 * at + 1), Some(200));
        peer.send(frame::RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8]);
    }
    peer.get(201, "/bytes/1");
    assert_eq!(peer.status(201), Some(200));
}

#[test]
fn a_block_of_headers_without_end_ends_the_connection() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let memory = proxy.memory();
    for piece in [0, 1, 1000] {
        let field = headers_block(&[("x-flood", &"a".repeat(piece))]);
        let payload = if piece == 0 { Vec::new() } else { field };
        let mut peer = H2Peer::connect(proxy.listener("entry"));
        peer.send(frame::HEADERS, 0, 1, &headers_block(&get("/")));
        let taken = flood(&mut peer, 100_000, |_| encode(frame::CONTINUATION, 0, 1, &payload));
        assert!(peer.end().is_some(), "still open after {taken} frames of {piece} bytes");
    }
    is_unharmed(&proxy, memory);
}

#[test]
fn a_small_block_that_unpacks_to_a_large_one_is_refused() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let memory = proxy.memory();
    let mut peer = H2Peer::connect(proxy.listener("entry"));
    // One long field for the table (RFC 7541, section 6.2.1), and thousands of references to it.
    let mut block = headers_block(&get("/"));
    let field = headers_block(&[("x-bomb", &"a".repeat(3900))]);
    block.push(0x40);
    block.extend(&field[1..]);
    block.extend([0xbe; 12_000]);
    peer.send(frame::HEADERS, END_HEADERS | END_STREAM, 1, &block);
    let seen = outcome(&mut peer);
    assert!(is(&seen, REFUSED) || seen == "431", "{seen}");
    drop(peer);
    is_unharmed(&proxy, memory);
}

#[test]
fn floods_of_control_frames_end_the_connection_or_do_no_harm() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let open = encode(frame::HEADERS, END_HEADERS, 1, &headers_block(&get("/sink")));
    let floods: &[(&str, Vec<u8>)] = &[
        ("SETTINGS", encode(frame::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PING", encode(frame::PING, 0, 0, b"12345678")),
        ("PRIORITY", encode(frame::PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", encode(frame::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", encode(frame::DATA, 0, 1, &[])),
        ("unknown frames", encode(0x77, 0, 0, &[])),
    ];
    let memory = proxy.memory();
    for (name, bytes) in floods {
        let mut peer = H2Peer::connect(proxy.listener("entry"));
        peer.write(&open);
        // Nothing is read, so answers pile up.
        let taken = flood(&mut peer, 100_000, |_| bytes.clone());
        println!("{name}: {taken} frames were taken");
        drop(peer);
        is_unharmed(&proxy, memory);
    }
}

#[test]
fn a_client_that_never_reads_does_not_fill_the_memory() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let memory = proxy.memory();
    // No window for any stream.
    let mut peer = H2Peer::connect_with(proxy.listener("entry"), &[(4, 0)]);
    for at in 0..50 {
        peer.get(2 * at + 1, "/endless");
    }
    eventually("the origin answers all", || origin.open_requests() == 50);
    assert!(proxy.memory().saturating_sub(memory) < 96 << 20);
    // One byte at a time is a client's right.
    peer.send(frame::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    let data = peer.find(|it| it.kind == frame::DATA && !it.payload.is_empty()).unwrap();
    assert_eq!((data.stream, data.payload.as_slice()), (1, &b"e"[..]));
    drop(peer);
    is_unharmed(&proxy, memory + (48 << 20));
    eventually("the origin sees no request any more", || origin.open_requests() == 0);
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let origin = HttpOrigin::start();
    let limit = json!({ "http2_protocol_options": { "max_concurrent_streams": 10, "allow_connect": true } });
    let proxy = start(&origin, limit);
    let mut peer = H2Peer::connect(proxy.listener("entry"));
    for at in 0..11 {
        peer.get(2 * at + 1, "/silent");
    }
    let refused = peer.find(|it| matches!(it.kind, frame::RST_STREAM | frame::GOAWAY)).unwrap();
    assert_eq!((refused.kind, refused.stream, refused.error_code()), (frame::RST_STREAM, 21, Some(7)));
    proxy.admin().wait_stat("http.entry.downstream_rq_active", 10);
    drop(peer);
    proxy.admin().wait_quiet();
}

#[test]
fn many_and_large_headers_are_refused() {
    let origin = HttpOrigin::start();
    let proxy = start(&origin, json!({}));
    let names: Vec<_> = (0..200).map(|at| format!("x-{at}")).collect();
    let many: Vec<_> = get("/").into_iter().chain(names.iter().map(|name| (name.as_str(), "a"))).collect();
    let long = "a".repeat(14_000);
    let large: Vec<_> = get("/")
        .into_iter()
        .chain(["x-a", "x-b", "x-c", "x-d", "x-e", "x-f"].map(|name| (name, long.as_str())))
        .collect();
    for headers in [many, large] {
        let mut peer = H2Peer::connect(proxy.listener("entry"));
        let block = headers_block(&headers);
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = frame::HEADERS;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let end = if kind == frame::HEADERS { END_STREAM } else { 0 };
            peer.send(kind, last | end, 1, piece);
            kind = frame::CONTINUATION;
        }
        let seen = outcome(&mut peer);
        assert!(is(&seen, REFUSED) || seen == "431", "{seen}");
    }
    proxy.admin().wait_quiet();
}
