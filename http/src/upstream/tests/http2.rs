use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::toys::{Toys, head, on_a_worker, text};
use crate::{
    Body,
    protocol_options::{ClusterProtocolOptions, Http2Settings, Keepalive, UpstreamProtocol},
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
        let first = first.unwrap().send(&post(), Body::full("first")).await.unwrap();
        let second = second.unwrap().send(&post(), Body::full("second")).await.unwrap();
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

/// Serves connections: every request is given to `respond`.
fn serve<F: Future<Output = ()> + 'static>(
    toys: &Toys,
    builder: h2::server::Builder,
    respond: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
) {
    let (listener, respond) = (toys.listener.clone(), Rc::new(respond));
    tokio::task::spawn_local(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let (builder, respond) = (builder.clone(), Rc::clone(&respond));
            tokio::task::spawn_local(async move {
                let mut connection = builder.handshake(io).await.unwrap();
                while let Some(Ok((request, send))) = connection.accept().await {
                    tokio::task::spawn_local(respond(request, send));
                }
            });
        }
    });
}

fn builder() -> h2::server::Builder {
    h2::server::Builder::new()
}

/// What becomes of a GET.
async fn get(toys: &Toys) -> String {
    let sent = toys.acquire().await.unwrap().send(&head(Method::GET, "a", "/"), Body::empty()).await;
    match sent {
        Err(reset) => format!("reset: {reset}"),
        Ok(response) => match response.into_body().collect().await {
            Ok(body) => format!("{:?}", body.to_bytes()),
            Err(error) => format!("broken off: {error}"),
        },
    }
}

#[test]
fn a_reset_is_told_and_counted_as_by_envoy() {
    on_a_worker(async {
        let mut told = Vec::new();
        for (when, reason) in [
            ("", Reason::NO_ERROR),
            ("", Reason::PROTOCOL_ERROR),
            ("", Reason::REFUSED_STREAM),
            ("", Reason::CANCEL),
            ("", Reason::CONNECT_ERROR),
            ("after the head, ", Reason::CANCEL),
        ] {
            let toys = Toys::new(http2()).await;
            serve(&toys, builder(), move |_, mut send| async move {
                if when.is_empty() {
                    send.send_reset(reason);
                } else {
                    let mut body = send.send_response(http::Response::new(()), false).unwrap();
                    // Once the head is on its way.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    body.send_reset(reason);
                }
            });
            let outcome = get(&toys).await;
            told.push(format!("{when}{reason:?}: {outcome}; {}", toys.counted()));
        }
        insta::assert_snapshot!(told.join("\n"), @"
        NO_ERROR: reset: remote reset; upstream_rq_rx_reset 1
        PROTOCOL_ERROR: reset: protocol error; upstream_rq_tx_reset 1
        REFUSED_STREAM: reset: remote refused stream reset; 
        CANCEL: reset: remote reset; upstream_rq_rx_reset 1
        CONNECT_ERROR: reset: remote error with CONNECT request; 
        after the head, CANCEL: broken off: remote reset; upstream_rq_rx_reset 1
        ");
    });
}

#[test]
fn a_goaway_lets_streams_go_on_and_the_next_request_goes_elsewhere() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        let listener = toys.listener.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(io).await.unwrap();
                    let (_, mut send) = connection.accept().await.unwrap().unwrap();
                    let mut body = send.send_response(http::Response::new(()), false).unwrap();
                    connection.graceful_shutdown();
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        body.send_data(Bytes::from_static(b"late"), true).unwrap();
                    });
                    while connection.accept().await.is_some() {}
                });
            }
        });
        let place = toys.acquire().await.unwrap();
        let first = place.send(&head(Method::GET, "a", "/"), Body::empty()).await.unwrap();
        toys.until("upstream_cx_close_notify", 1).await;
        assert_eq!(get(&toys).await, "b\"late\"");
        assert_eq!(text(first.into_body()).await, "late");
        assert_eq!(toys.stat("upstream_cx_http2_total"), 2);
        toys.until("upstream_cx_destroyed", 2).await;
    });
}

#[test]
fn streams_beyond_what_the_peer_allows_get_a_connection_of_their_own() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        let mut one_stream = builder();
        one_stream.max_concurrent_streams(1);
        serve(&toys, one_stream, |_, mut send| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut body = send.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"ok"), true).unwrap();
        });
        // The first tells what the peer allows.
        assert_eq!(get(&toys).await, "b\"ok\"");
        let both = tokio::join!(get(&toys), get(&toys));
        assert_eq!(both, ("b\"ok\"".to_owned(), "b\"ok\"".to_owned()));
        assert_eq!(toys.stat("upstream_cx_http2_total"), 2);
    });
}

#[test]
fn a_connection_is_left_after_its_last_request_and_when_it_was_idle_for_too_long() {
    on_a_worker(async {
        let mut options = http2();
        options.common.max_requests_per_connection = Some(2);
        options.common.idle_timeout = Some(Duration::from_millis(100));
        let toys = Toys::new(options).await;
        serve(&toys, builder(), |_, mut send| async move {
            let mut body = send.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"ok"), true).unwrap();
        });
        for _ in 0..3 {
            assert_eq!(get(&toys).await, "b\"ok\"");
        }
        assert_eq!((toys.stat("upstream_cx_http2_total"), toys.stat("upstream_cx_max_requests")), (2, 1));
        toys.until("upstream_cx_idle_timeout", 1).await;
        toys.until("upstream_cx_destroyed", 2).await;
    });
}

#[test]
fn a_peer_that_does_not_answer_pings_is_given_up() {
    on_a_worker(async {
        let keepalive = Keepalive {
            interval: Some(Duration::from_millis(30)),
            timeout: Duration::from_millis(30),
            interval_jitter: 0.0,
            connection_idle_interval: None,
        };
        let mut options = http2();
        options.http2 = Http2Settings { keepalive: Some(keepalive), ..Http2Settings::default() };
        let toys = Toys::new(options).await;
        let listener = toys.listener.clone();
        tokio::task::spawn_local(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            // An empty SETTINGS frame, and silence.
            io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut sink = Vec::new();
            let _ = io.read_to_end(&mut sink).await;
        });
        assert_eq!(get(&toys).await, "reset: connection termination");
        toys.until("upstream_cx_destroyed", 1).await;
        assert_eq!(toys.stat("http2.keepalive_timeout"), 1);
        assert_eq!(toys.stat("closed_local"), 1);
    });
}

#[test]
fn trailers_pass_both_ways() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        serve(&toys, builder(), |request, mut send| async move {
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data.unwrap().len()).unwrap();
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            let mut body = send.send_response(http::Response::new(()), false).unwrap();
            body.send_trailers(trailers).unwrap();
        });
        let trailers = HeaderMap::from_iter([(header::AGE, HeaderValue::from_static("7"))]);
        let (mut sender, body) = Body::channel(1024);
        sender.send("data".into()).unwrap();
        sender.finish_with(trailers.clone()).unwrap();
        let place = toys.acquire().await.unwrap();
        let response = place.send(&head(Method::POST, "a", "/"), body).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().trailers(), Some(&trailers));
    });
}

#[test]
fn a_request_or_an_answer_that_is_given_up_resets_the_stream() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        let resets = Rc::new(std::cell::Cell::new(0));
        let counted = Rc::clone(&resets);
        serve(&toys, builder(), move |request, mut send| {
            let resets = Rc::clone(&counted);
            async move {
                if request.uri().path() == "/answered" {
                    let mut body = send.send_response(http::Response::new(()), false).unwrap();
                    std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
                } else {
                    std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
                }
                resets.set(resets.get() + 1);
            }
        });
        let waiting = toys.acquire().await.unwrap().send(&head(Method::GET, "a", "/waiting"), Body::empty());
        tokio::time::timeout(Duration::from_millis(50), waiting).await.unwrap_err();
        let answered =
            toys.acquire().await.unwrap().send(&head(Method::GET, "a", "/answered"), Body::empty());
        drop(answered.await.unwrap());
        while resets.get() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(toys.counted(), "upstream_rq_tx_reset 2");
        assert_eq!(toys.stat("http2.tx_reset"), 2);
    });
}

#[test]
fn an_answer_that_comes_before_the_request_is_complete_ends_the_request() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        serve(&toys, builder(), |_, mut send| async move {
            let mut response = http::Response::new(());
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            send.send_response(response, true).unwrap();
        });
        let (sender, body) = Body::channel(1024);
        let place = toys.acquire().await.unwrap();
        let response = place.send(&head(Method::POST, "a", "/"), body).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response.into_body()).await, "");
        assert_eq!(toys.counted(), "upstream_rq_tx_reset 1");
        drop(sender);
    });
}

#[test]
fn a_body_that_breaks_off_resets_the_stream() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        serve_echo(&toys);
        let (mut sender, body) = Body::channel(1024);
        sender.send("half".into()).unwrap();
        drop(sender);
        let place = toys.acquire().await.unwrap();
        let reset = place.send(&head(Method::POST, "a", "/"), body).await.unwrap_err();
        assert_eq!(reset.to_string(), "local reset");
        assert_eq!(toys.stat("upstream_rq_active"), 0);
    });
}

#[test]
fn much_data_passes_both_ways_through_a_tunnel_without_piling_up() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        serve_echo(&toys);
        let connect = head(Method::CONNECT, "t.example:443", "");
        let established = toys.acquire().await.unwrap().tunnel(connect).await.unwrap();
        let (mut read, mut write) = tokio::io::split(established.io.unwrap());
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let writing = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let ((), n) = tokio::join!(writing, read.read_to_end(&mut received));
        assert_eq!(n.unwrap(), sent.len() + 1);
        assert!(received.starts_with(&sent));
    });
}

#[test]
fn a_tunnel_that_is_dropped_or_reset_on_either_side_is_gone_on_the_other() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
        let told = Rc::clone(&seen);
        serve(&toys, builder(), move |request, mut send| {
            let seen = Rc::clone(&told);
            async move {
                let name = request.uri().to_string();
                let mut body = send.send_response(http::Response::new(()), false).unwrap();
                if name == "peer:1" {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    body.send_reset(Reason::INTERNAL_ERROR);
                } else {
                    let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
                    seen.borrow_mut().push(format!("{name} {reason:?}"));
                }
            }
        });
        let open = async |authority: &'static str| {
            let place = toys.acquire().await.unwrap();
            place.tunnel(head(Method::CONNECT, authority, "")).await.unwrap().io.unwrap()
        };
        let dropped = open("dropped:1").await;
        drop(dropped);
        let mut reset = open("reset:1").await;
        reset.reset();
        let mut by_peer = open("peer:1").await;
        std::future::poll_fn(|cx| by_peer.poll_peer_gone(cx)).await;
        let error = by_peer.read(&mut [0]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (std::io::ErrorKind::ConnectionReset, "remote reset")
        );
        while seen.borrow().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*seen.borrow(), ["dropped:1 CANCEL", "reset:1 CANCEL"]);
        drop((reset, by_peer));
        assert_eq!(toys.stat("upstream_rq_active"), 0);
    });
}

#[test]
fn an_upgrade_is_an_extended_connect() {
    on_a_worker(async {
        let toys = Toys::new(http2()).await;
        let mut extended = builder();
        extended.enable_connect_protocol();
        serve(&toys, extended, |request, mut send| async move {
            let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
            assert_eq!((request.method(), protocol.as_str()), (&Method::CONNECT, "websocket"));
            assert_eq!(request.uri().path(), "/ws");
            assert!(request.headers().is_empty());
            let mut body = send.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"hi"), true).unwrap();
        });
        let mut upgrade = head(Method::GET, "a", "/ws");
        upgrade.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        upgrade.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        let answer = toys.acquire().await.unwrap().tunnel(upgrade).await.unwrap();
        assert_eq!(answer.response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.response.headers()["upgrade"], "websocket");
        let mut said = String::new();
        answer.io.unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hi");
    });
}
