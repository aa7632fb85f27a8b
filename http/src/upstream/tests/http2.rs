use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::toys::{Toys, head, on_a_worker, text};
use crate::{
    Body,
    protocol_options::{ClusterProtocolOptions, UpstreamProtocol},
};

fn http2() -> ClusterProtocolOptions {
    ClusterProtocolOptions { protocol: UpstreamProtocol::Http2, ..ClusterProtocolOptions::default() }
}

/// Serves one connection: every request's body, or tunnel, is echoed.
fn serve_echo(toys: &Toys) {
    let listener = toys.listener.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let mut connection = h2::server::handshake(io).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::task::spawn_local(async move {
                        let mut body = request.into_body();
                        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
                        while let Some(Ok(data)) = body.data().await {
                            body.flow_control().release_capacity(data.len()).unwrap();
                            send.send_data(data, false).unwrap();
                        }
                        let _ = send.send_data(Bytes::from_static(b"."), true);
                    });
                }
            });
        }
    });
}

#[test]
fn requests_share_a_connection() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        serve_echo(&toys);
        let post = || head(Method::POST, "origin.example", "/");
        let (first, second) = tokio::join!(toys.acquire(), toys.acquire());
        let first = first.unwrap().send(post(), Body::full("first")).await.unwrap();
        let second = second.unwrap().send(post(), Body::full("second")).await.unwrap();
        assert_eq!(toys.stat("upstream_rq_active"), 2);
        assert_eq!(text(second.into_body()).await, "second.");
        assert_eq!(text(first.into_body()).await, "first.");
        assert_eq!((toys.stat("upstream_cx_http2_total"), toys.stat("upstream_rq_active")), (1, 0));
    });
}

#[test]
fn a_connect_makes_a_stream_of_bytes() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        serve_echo(&toys);
        let connect = head(Method::CONNECT, "t.example:443", "");
        let established = toys.acquire().await.unwrap().tunnel(connect).await.unwrap();
        let mut io = established.io.unwrap();
        io.write_all(b"ping").await.unwrap();
        let mut echoed = [0; 4];
        io.read_exact(&mut echoed).await.unwrap();
        io.shutdown().await.unwrap();
        let mut rest = String::new();
        io.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&echoed, rest.as_str()), (b"ping", "."));
        drop(io);
        assert_eq!(toys.stat("upstream_rq_active"), 0);
    });
}
