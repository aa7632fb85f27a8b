use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::testing::{self, TestServer};

use super::*;
use crate::request_line::look_at;

fn filter(server: &TestServer) -> Arc<dyn ListenerFilter> {
    let yaml =
        "'@type': type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
    let config = testing::read::<dyn ListenerFilterConfig>(yaml).unwrap();
    server.build("", |context| config.build(context)).unwrap()
}

/// What the filter makes of a client that sends this and no more, within the patience of a listener.
async fn found(server: &TestServer, filter: &dyn ListenerFilter, bytes: &[u8]) -> &'static str {
    let (mut client, mut socket) = server.accept().await.unwrap();
    client.write_all(bytes).await.unwrap();
    let patience = std::time::Duration::from_millis(300);
    let Ok(result) = tokio::time::timeout(patience, filter.inspect(&mut socket)).await else {
        return "more is needed";
    };
    if result.is_err() {
        return "rejected";
    }
    let mut again = vec![0; bytes.len()];
    socket.io.read_exact(&mut again).await.unwrap();
    assert_eq!(again, bytes, "nothing is taken off the stream");
    let protocols = socket.info.details.application_protocols.borrow();
    match protocols.first().map(|protocol| &**protocol) {
        Some("http/1.0") => "http/1.0",
        Some("http/1.1") => "http/1.1",
        Some("h2c") => "h2c",
        _ => "none",
    }
}

/// The cases are those that Envoy 1.40 was seen to decide this way.
#[test]
fn lines_are_judged_as_envoy_judges_them() {
    for (expected, lines) in [
        (
            "http/1.1",
            &[
                &b"GET / HTTP/1.1\r\n"[..],
                b"GET / HTTP/1.1\n",
                b"FOO / HTTP/1.1\r\n",
                b"get / HTTP/1.1\r\n",
                b"PRI * HTTP/1.1\r\n",
                b"CONNECT a:1 HTTP/1.1\r\n",
                b"CONNECT a HTTP/1.1\r\n",
                b"GET  / HTTP/1.1\r\n",
                b"GET\t/ HTTP/1.1\r\n",
                b"GET / HTTP/1.1 \r\n",
                b"GET /\x00 HTTP/1.1\r\n",
                b"GET http://a/ HTTP/1.1\r\n",
                b"GET http:/// HTTP/1.1\r\n",
                b"GET * HTTP/1.1\r\n",
                b"M-SEARCH * HTTP/1.1\r\n",
            ][..],
        ),
        (
            "http/1.0",
            &[
                b"GET / HTTP/1.0\r\n",
                b"GET / HTTP/0.9\r\n",
                b"GET / HTTP/2.0\r\n",
                b"GET / HTTP/1.2\r\n",
                b"GET /\r\n",
                b"GET / \r\n",
                b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            ],
        ),
        ("h2c", &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
        (
            "none",
            &[
                b"\r\nGET / HTTP/1.1\r\n",
                b"\n",
                b" GET / HTTP/1.1\r\n",
                b"GET /a b HTTP/1.1\r\n",
                b"GET / http/1.1\r\n",
                b"GET / HTTP/11\r\n",
                b"GET / HTTP/10.1\r\n",
                b"GET / HTTP/1.1x\r\n",
                b"GET / FTP/1.1\r\n",
                b"GET /\xff HTTP/1.1\r\n",
                b"GET foo HTTP/1.1\r\n",
                b"GET :// HTTP/1.1\r\n",
                b"GET\r\n",
                b"HTTP/1.1 200 OK\r\n",
                b"SSH-2.0-foo\r\n",
                b"\x16\x03\x01\x00\xa0",
                b"\x00",
            ],
        ),
        (
            "more is needed",
            &[
                b"",
                b"G",
                b"foo",
                b"GET / HTTP/1.1",
                b"GET / HTTP/1.1\r",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
                b"SSH-2.0-foo",
            ],
        ),
    ] {
        for line in lines {
            let found = match look_at(line) {
                None => "more is needed",
                Some(request_line::Beginning::Other) => "none",
                Some(request_line::Beginning::Http(version)) => match version {
                    request_line::Version::Http10 => "http/1.0",
                    request_line::Version::Http11 => "http/1.1",
                    request_line::Version::Http2 => "h2c",
                },
            };
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(line));
        }
    }
}

#[tokio::test]
async fn what_a_client_speaks_becomes_its_application_protocol() {
    let server = TestServer::default();
    let filter = filter(&server);
    assert_eq!(found(&server, &*filter, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, "http/1.1");
    assert_eq!(found(&server, &*filter, b"GET / HTTP/1.0\r\n\r\n").await, "http/1.0");
    assert_eq!(found(&server, &*filter, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxyz").await, "h2c");
    assert_eq!(found(&server, &*filter, b"\x00hello").await, "none");
    assert_eq!(found(&server, &*filter, b"GET /").await, "more is needed");
    let count = |name: &str| server.counter(&format!("http_inspector.{name}"));
    let counted = ["http10_found", "http11_found", "http2_found", "http_not_found", "read_error"].map(count);
    assert_eq!(counted, [1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn a_long_line_is_read_to_its_end_and_an_endless_one_is_refused() {
    let server = TestServer::default();
    let filter = filter(&server);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(60_000));
    assert_eq!(found(&server, &*filter, long.as_bytes()).await, "http/1.1");
    let endless = format!("GET /{}", "a".repeat(70_000));
    assert_eq!(found(&server, &*filter, endless.as_bytes()).await, "rejected");
    assert_eq!(server.counter("http_inspector.read_error"), 1);
}

#[tokio::test]
async fn what_is_known_to_be_tls_is_not_looked_at() {
    let server = TestServer::default();
    let (_client, mut socket) = server.accept().await.unwrap();
    *socket.info.details.detected_transport_protocol.borrow_mut() = Some(Arc::from("tls"));
    filter(&server).inspect(&mut socket).await.unwrap();
    assert_eq!(server.counter("http_inspector.http_not_found"), 0);
}

proptest! {
    /// What was decided on a part of a stream holds for all of it.
    #[test]
    fn more_bytes_never_change_what_was_found(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0..60_usize) {
        let part = &bytes[..cut.min(bytes.len())];
        if let Some(found) = look_at(part) {
            prop_assert_eq!(look_at(&bytes), Some(found));
        }
    }

    #[test]
    fn anything_that_looks_like_a_request_is_judged(line in "(GET|CONNECT|P@|) ?[/*a-z:@?. ]{0,12} ?(HTTP/[0-9.]{1,4})?\r?\n") {
        prop_assert!(look_at(line.as_bytes()).is_some());
    }
}
