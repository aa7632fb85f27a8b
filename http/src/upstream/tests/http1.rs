use std::{future::poll_fn, os::fd::AsFd};

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::toys::{Toys, answer, head, on_a_worker, read_until, text};
use crate::{Body, protocol_options::ClusterProtocolOptions};

#[test]
fn requests_use_a_connection_one_after_the_other() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let listener = toys.listener.clone();
        let serve = tokio::task::spawn_local(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            let first = answer(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst").await;
            answer(&mut io, "HTTP/1.1 204 No Content\r\n\r\n").await;
            answer(&mut io, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nthird\r\n0\r\n\r\n")
                .await;
            (first, io)
        });
        let get = || head(Method::GET, "origin.example", "/path?query");
        let response = toys.acquire().await.unwrap().send(&get(), Body::empty()).await.unwrap();
        assert_eq!(text(response.into_body()).await, "first");
        let response = toys.acquire().await.unwrap().send(&get(), Body::empty()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let response = toys.acquire().await.unwrap().send(&get(), Body::empty()).await.unwrap();
        assert_eq!(text(response.into_body()).await, "third");
        let (first, _io) = serve.await.unwrap();
        insta::assert_snapshot!(first.replace('\r', ""), @"
        GET /path?query HTTP/1.1
        host: origin.example
        ");
        assert_eq!((toys.stat("upstream_cx_http1_total"), toys.stat("upstream_rq_total")), (1, 3));
        assert_eq!((toys.stat("upstream_rq_pending_total"), toys.stat("upstream_rq_active")), (1, 0));
    });
}

#[test]
fn a_connect_gives_the_connection_with_the_bytes_behind_its_answer() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let listener = toys.listener.clone();
        let serve = tokio::task::spawn_local(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            let request = answer(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nearly bytes").await;
            assert_eq!(read_until(&mut io, "ping").await, "ping");
            io.write_all(b"pong").await.unwrap();
            request
        });
        let connect = head(Method::CONNECT, "t.example:443", "");
        let established = toys.acquire().await.unwrap().tunnel(connect).await.unwrap();
        assert!(!established.response.headers().contains_key("content-length"));
        let mut io = established.io.unwrap();
        let mut early = [0; 11];
        io.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early bytes");
        io.write_all(b"ping").await.unwrap();
        io.shutdown().await.unwrap();
        let mut rest = String::new();
        io.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "pong");
        assert_eq!(serve.await.unwrap(), "CONNECT t.example:443 HTTP/1.1\r\nhost: t.example:443\r\n\r\n");
    });
}

/// What a request comes to whose answer is this, after which the connection is closed: the answer's body or the reset,
/// and what was counted.
async fn outcome(answered: &'static str, then: Then) -> String {
    let toys = Toys::new(ClusterProtocolOptions::default()).await;
    let listener = toys.listener.clone();
    let serve = tokio::task::spawn_local(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        answer(&mut io, answered).await;
        if matches!(then, Then::Wait) {
            // Until the other side closes.
            let _ = io.read(&mut [0]).await;
        }
    });
    let place = toys.acquire().await.unwrap();
    let outcome = match place.send(&head(Method::GET, "a", "/"), Body::empty()).await {
        Err(reset) => format!("reset: {reset}"),
        Ok(response) => match http_body_util::BodyExt::collect(response.into_body()).await {
            Ok(body) => format!("{:?}", body.to_bytes()),
            Err(error) => format!("broken off: {error}"),
        },
    };
    serve.await.unwrap();
    toys.until("upstream_cx_destroyed", 1).await;
    format!("{outcome}; {}", toys.counted())
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Wait,
}

#[test]
fn what_is_wrong_with_an_answer_is_told_and_counted_as_by_envoy() {
    on_a_worker(async {
        let cases = [
            ("nothing", Then::Close, ""),
            ("half a head", Then::Close, "HTTP/1.1 200 OK\r\ncontent-le"),
            ("garbage", Then::Wait, "garbage\r\n\r\n"),
            ("a short body", Then::Close, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
            ("a short chunk", Then::Close, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
            ("a bad chunk", Then::Wait, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab"),
            (
                "two framings",
                Then::Wait,
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ),
            (
                "two lengths",
                Then::Wait,
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
            ),
            ("a 204 with a length", Then::Wait, "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok"),
            ("a body without length", Then::Close, "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
            (
                "the last one",
                Then::Wait,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            ),
            ("HTTP/1.0", Then::Wait, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            ("too much", Then::Wait, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA"),
            (
                "an interim answer",
                Then::Close,
                "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            ),
        ];
        let mut told = Vec::new();
        for (name, then, answer) in cases {
            told.push(format!("{name}: {}", outcome(answer, then).await));
        }
        insta::assert_snapshot!(told.join("\n"), @r#"
        nothing: reset: connection termination; closed_remote 1, closed_with_request 1
        half a head: reset: protocol error; closed_remote 1, closed_with_request 1, upstream_cx_protocol_error 1
        garbage: reset: protocol error; closed_local 1, closed_with_request 1, upstream_cx_protocol_error 1
        a short body: broken off: protocol error; closed_remote 1, closed_with_request 1, upstream_cx_protocol_error 1
        a short chunk: broken off: protocol error; closed_remote 1, closed_with_request 1, upstream_cx_protocol_error 1
        a bad chunk: broken off: protocol error; closed_local 1, closed_with_request 1, upstream_cx_protocol_error 1
        two framings: reset: protocol error; closed_local 1, closed_with_request 1, upstream_cx_protocol_error 1
        two lengths: reset: protocol error; closed_local 1, closed_with_request 1, upstream_cx_protocol_error 1
        a 204 with a length: reset: protocol error; closed_local 1, closed_with_request 1, upstream_cx_protocol_error 1
        a body without length: b"until the end"; closed_remote 1
        the last one: b"ok"; closed_local 1, upstream_cx_close_notify 1
        HTTP/1.0: b"ok"; closed_local 1, upstream_cx_close_notify 1
        too much: b"ok"; closed_local 1, upstream_cx_protocol_error 1
        an interim answer: b"ok"; closed_remote 1
        "#);
    });
}

#[test]
fn a_post_without_length_is_chunked() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let (mut sender, body) = Body::channel(1024);
        sender.send("hello".into()).unwrap();
        let place = toys.acquire().await.unwrap();
        let sent = tokio::task::spawn_local(place.send(&head(Method::POST, "t.example:443", "/p"), body));
        let (mut io, _) = toys.listener.accept().await.unwrap();
        let wire =
            "POST /p HTTP/1.1\r\nhost: t.example:443\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        assert_eq!(read_until(&mut io, "hello\r\n").await, wire);
        // The answer begins while the request goes on, and neither waits for the other.
        io.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let response = sent.await.unwrap().unwrap();
        sender.send("more".into()).unwrap();
        assert_eq!(read_until(&mut io, "more\r\n").await, "4\r\nmore\r\n");
        sender.finish();
        assert_eq!(read_until(&mut io, "0\r\n\r\n").await, "0\r\n\r\n");
        io.write_all(b"3\r\nbye\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(text(response.into_body()).await, "bye");
        // The connection serves the next.
        let next = toys.acquire().await.unwrap();
        assert_eq!((next.requests(), toys.stat("upstream_cx_total")), (2, 1));
    });
}

#[test]
fn an_answer_that_is_complete_before_the_request_closes_the_connection() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let (sender, body) = Body::channel(1024);
        let place = toys.acquire().await.unwrap();
        let sent = tokio::task::spawn_local(place.send(&head(Method::POST, "a", "/"), body));
        let (mut io, _) = toys.listener.accept().await.unwrap();
        answer(&mut io, "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        let response = sent.await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), text(response.into_body()).await.as_str()), (413, "no"));
        toys.until("upstream_cx_destroyed", 1).await;
        assert_eq!(toys.counted(), "closed_local 1, closed_with_request 1");
        drop(sender);
    });
}

#[test]
fn an_upgrade_gives_the_connection() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let mut upgrade = head(Method::GET, "a", "/ws");
        upgrade.headers.insert("upgrade", "websocket".parse().unwrap());
        upgrade.headers.insert("connection", "upgrade".parse().unwrap());
        let place = toys.acquire().await.unwrap();
        let sent = tokio::task::spawn_local(place.tunnel(upgrade));
        let (mut io, _) = toys.listener.accept().await.unwrap();
        let answered =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi";
        answer(&mut io, answered).await;
        let mut tunnel = sent.await.unwrap().unwrap().io.unwrap();
        let mut hi = [0; 2];
        tunnel.read_exact(&mut hi).await.unwrap();
        assert_eq!(&hi, b"hi");
    });
}

#[test]
fn bytes_that_are_spliced_through_an_upgraded_connection_are_counted() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let mut upgrade = head(Method::GET, "a", "/ws");
        upgrade.headers.insert("upgrade", "websocket".parse().unwrap());
        upgrade.headers.insert("connection", "upgrade".parse().unwrap());
        let place = toys.acquire().await.unwrap();
        let sent = tokio::task::spawn_local(place.tunnel(upgrade));
        let (mut peer, _) = toys.listener.accept().await.unwrap();
        let answered =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        answer(&mut peer, answered).await;
        let mut tunnel = sent.await.unwrap().unwrap().io.unwrap();
        let totals =
            || ["upstream_cx_rx_bytes_total", "upstream_cx_tx_bytes_total"].map(|name| toys.stat(name));
        let before = totals();
        assert!(tunnel.splices());
        let (reader, writer) = std::io::pipe().unwrap();
        peer.write_all(b"hello").await.unwrap();
        let n = poll_fn(|cx| tunnel.poll_splice_in(cx, writer.as_fd(), 3)).await.unwrap();
        assert_eq!((n, totals()), (3, [before[0] + 3, before[1]]));
        let n = poll_fn(|cx| tunnel.poll_splice_out(cx, reader.as_fd(), 3)).await.unwrap();
        assert_eq!((n, totals()), (3, [before[0] + 3, before[1] + 3]));
        let mut seen = [0; 3];
        peer.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hel");
    });
}

#[test]
fn a_refused_connect_keeps_its_answer() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let place = toys.acquire().await.unwrap();
        let sent = tokio::task::spawn_local(place.tunnel(head(Method::CONNECT, "t.example:443", "")));
        let (mut io, _) = toys.listener.accept().await.unwrap();
        answer(&mut io, "HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope").await;
        let refused = sent.await.unwrap().unwrap();
        assert!(refused.io.is_none());
        assert_eq!(refused.response.status().as_u16(), 403);
        assert_eq!(text(refused.response.into_body()).await, "nope");
    });
}

#[test]
fn an_answer_may_come_in_any_pieces() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let whole = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n\
            5;ext=1\r\nhello\r\nA\r\n, chunks..\r\n0\r\ntrailer: x\r\n\r\n";
        let listener = toys.listener.clone();
        tokio::task::spawn_local(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            io.set_nodelay(true).unwrap();
            for size in 1..12 {
                read_until(&mut io, "\r\n\r\n").await;
                for piece in whole.as_bytes().chunks(size) {
                    io.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 1..12 {
            let place = toys.acquire().await.unwrap();
            let response = place.send(&head(Method::GET, "a", "/"), Body::empty()).await.unwrap();
            assert_eq!(response.headers()["a"], "b");
            assert_eq!(text(response.into_body()).await, "hello, chunks..");
        }
        assert_eq!(toys.stat("upstream_cx_total"), 1);
    });
}

#[test]
fn a_head_has_limits() {
    on_a_worker(async {
        for head in [
            format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(90_000)),
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: x\r\n".repeat(101)),
        ] {
            let head: &'static str = head.leak();
            let told = outcome(head, Then::Wait).await;
            assert!(told.starts_with("reset: protocol error; closed_local 1"), "{told}");
        }
    });
}
