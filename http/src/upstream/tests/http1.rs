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
        let response = toys.acquire().await.unwrap().send(get(), Body::empty()).await.unwrap();
        assert_eq!(text(response.into_body()).await, "first");
        let response = toys.acquire().await.unwrap().send(get(), Body::empty()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let response = toys.acquire().await.unwrap().send(get(), Body::empty()).await.unwrap();
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
