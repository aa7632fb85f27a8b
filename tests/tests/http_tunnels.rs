//! HTTP inside HTTP: what users do with a pair of proxies, and what must not go wrong with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{BufReader, Read as _, Write as _},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use underpass_tests::{
    HttpOrigin,
    client::{connect, reset},
    eventually,
    http_client::{H2Client, exchange, get, read_reply, receive, request},
    tunnel::{Options, Tunnel, Way},
};

#[test]
fn a_get_comes_out_as_it_went_in() {
    for way in Way::ALL {
        let origin = HttpOrigin::start();
        let tunnel = Tunnel::start(way, origin.port());
        for path in ["/first", "/second?query=1"] {
            let reply = get(tunnel.entry(), path);
            assert_eq!(
                (reply.status, reply.complete, reply.header("server")),
                (200, true, "envoy"),
                "{way:?}"
            );
        }
        let seen = origin.seen();
        let targets: Vec<_> = seen.iter().map(|it| it.target.as_str()).collect();
        assert_eq!(targets, ["/first", "/second?query=1"], "{way:?}");
        assert_eq!(seen[0].header("host"), "test.example");
        assert_eq!(seen[0].header("x-request-id").len(), 36);
        if way != Way::Direct {
            let stats = tunnel.left.admin().stats();
            assert_eq!(stats["cluster.proxy.upstream_rq_total"], 1, "{way:?}: both go through one tunnel");
        }
    }
}

#[test]
fn bodies_of_50_megabytes_pass_both_ways() {
    const SIZE: usize = 50 << 20;
    let over_http1 = Way::ALL.map(|way| (way, false));
    for (way, http2) in over_http1.into_iter().chain([(Way::Http2Connect, true)]) {
        let origin = HttpOrigin::start();
        let options = Options { http2, ..Options::default() };
        let tunnel = Tunnel::start_with(way, origin.port(), &options);
        let client = H2Client::connect(tunnel.entry());
        let memory = tunnel.left.memory();
        let body: Bytes = (0..SIZE).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let reply = client.ask(request("POST", "/echo"), body.clone());
        assert!(reply.body == body && reply.complete, "{way:?} {http2}: {} of {SIZE}", reply.body.len());
        let grown = tunnel.left.memory().saturating_sub(memory);
        assert!(grown < 64 << 20, "{way:?} {http2}: {grown} bytes more");
        tunnel.wait_quiet();
    }
}

#[test]
fn bodies_pass_over_http1_too() {
    const SIZE: usize = 50 << 20;
    for way in [Way::Direct, Way::Http2Connect] {
        let origin = HttpOrigin::start();
        let tunnel = Tunnel::start(way, origin.port());
        let stream = connect(tunnel.entry());
        let mut writing = stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            write!(writing, "POST /echo HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
            for _ in 0..SIZE >> 16 {
                writing.write_all(b"10000\r\n").unwrap();
                writing.write_all(&vec![7; 1 << 16]).unwrap();
                writing.write_all(b"\r\n").unwrap();
            }
            writing.write_all(b"0\r\n\r\n").unwrap();
        });
        let reply = read_reply(&mut BufReader::new(stream));
        writer.join().unwrap();
        assert_eq!((reply.status, reply.body.len(), reply.complete), (200, SIZE, true), "{way:?}");
        assert!(reply.body.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn trailers_pass_both_ways() {
    for way in Way::ALL {
        let origin = HttpOrigin::start();
        let options = Options { http2: true, ..Options::default() };
        let tunnel = Tunnel::start_with(way, origin.port(), &options);
        let client = H2Client::connect(tunnel.entry());
        assert_eq!(client.get("/trailers").trailer("x-trailer"), "done", "{way:?}");
        let trailers =
            HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from_static("abc"))]);
        let reply =
            client.run(exchange(client.sender(), request("POST", "/echo"), "body".into(), Some(trailers)));
        assert_eq!((reply.text().as_str(), reply.trailer("x-checksum")), ("body", "abc"), "{way:?}");
    }
}

#[test]
fn a_thousand_streams_share_a_tunnel_connection() {
    const STREAMS: usize = 1000;
    let origin = HttpOrigin::start();
    let options = Options { http2: true, ..Options::default() };
    let tunnel = Tunnel::start_with(Way::Http2Connect, origin.port(), &options);
    let client = H2Client::connect(tunnel.entry());
    let replies = client.run(async {
        let ask = |at: usize| {
            exchange(client.sender(), request("POST", "/echo"), vec![b'a'; 100 + at].into(), None)
        };
        futures_util::future::join_all((0..STREAMS).map(ask)).await
    });
    for (at, reply) in replies.iter().enumerate() {
        assert_eq!((reply.status, reply.body.len(), reply.complete), (200, 100 + at, true));
    }
    tunnel.wait_quiet();
    assert_eq!(tunnel.left.admin().stat("cluster.proxy.upstream_cx_total"), 1);
}

#[test]
fn a_thousand_tunnels_share_a_connection() {
    const TUNNELS: usize = 1000;
    let origin = HttpOrigin::start();
    // Over HTTP/1.1 each open request needs a connection of its own into the tunnel listener, and so a tunnel.
    let tunnel = Tunnel::start(Way::Http2Connect, origin.port());
    let client = H2Client::connect(tunnel.entry());
    let replies = client.run(async {
        let ask = |_| exchange(client.sender(), request("GET", "/delay/1500"), Bytes::new(), None);
        futures_util::future::join_all((0..TUNNELS).map(ask)).await
    });
    assert!(
        replies.iter().all(|reply| reply.text() == "late"),
        "{:?}",
        replies.iter().map(|it| it.status).collect::<Vec<_>>()
    );
    assert_eq!(tunnel.left.admin().stat("cluster.proxy.upstream_cx_total"), 1);
    assert!(tunnel.left.admin().stat("cluster.proxy.upstream_rq_total") >= 900);
    tunnel.wait_quiet();
}

#[test]
fn a_client_that_aborts_frees_the_stream_on_every_hop() {
    for way in Way::ALL {
        for path in ["/endless", "/silent"] {
            let origin = HttpOrigin::start();
            let tunnel = Tunnel::start(way, origin.port());
            // Over HTTP/1.1 by a reset and by an orderly end, over HTTP/2 by RST_STREAM.
            let clients: Vec<_> = (0..6).map(|_| connect(tunnel.entry())).collect();
            for mut client in &clients {
                write!(client, "GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
            }
            let http2 = H2Client::connect(tunnel.entry());
            let streams: Vec<_> = (0..6).map(|_| http2.open(request("GET", path))).collect();
            eventually(&format!("{way:?} {path}: the origin serves all"), || origin.open_requests() == 12);
            for (at, mut client) in clients.into_iter().enumerate() {
                if path == "/endless" {
                    client.read_exact(&mut [0; 2000]).unwrap();
                }
                if at % 2 == 0 {
                    reset(client);
                }
            }
            drop(streams);
            eventually(&format!("{way:?} {path}: the origin serves nobody"), || origin.open_requests() == 0);
            tunnel.wait_quiet();
            assert_eq!(get(tunnel.entry(), "/after").status, 200);
        }
    }
}

#[test]
fn an_origin_that_dies_ends_the_streams_on_every_hop() {
    for way in Way::ALL {
        let origin = HttpOrigin::start();
        let tunnel = Tunnel::start(way, origin.port());
        let client = H2Client::connect(tunnel.entry());
        let (sending, response) = client.open(request("POST", "/endless"));
        let mut response = client.run(response).unwrap();
        assert_eq!(response.status(), 200);
        drop(origin);
        let ended = client.run(async {
            loop {
                match response.body_mut().data().await {
                    Some(Ok(data)) => drop(response.body_mut().flow_control().release_capacity(data.len())),
                    Some(Err(_)) => break true,
                    None => break false,
                }
            }
        });
        assert!(ended, "{way:?}: a body that broke off must not look complete");
        drop(sending);
        tunnel.wait_quiet();
        assert_eq!(get(tunnel.entry(), "/").status, 503, "{way:?}");
    }
}

#[test]
fn open_streams_finish_while_the_proxy_drains() {
    let origin = HttpOrigin::start();
    let arguments = ["--drain-time-s", "2", "--parent-shutdown-time-s", "100"].map(str::to_owned).to_vec();
    let options = Options { arguments, entry: json!({ "drain_timeout": "0.2s" }), ..Options::default() };
    for way in [Way::Direct, Way::Http2Connect] {
        let tunnel = Tunnel::start_with(way, origin.port(), &options);
        let client = H2Client::connect(tunnel.entry());
        let (mut sending, response) = client.open(request("POST", "/echo"));
        sending.send_data("before ".into(), false).unwrap();
        eventually("the origin has the request", || origin.open_requests() > 0);
        tunnel.left.admin().post("/drain_listeners?graceful&skip_exit");
        // A new request is answered, and its connection told to go.
        eventually("HTTP/1.1 clients are told to close", || get_keeping(&tunnel) == "close");
        eventually("HTTP/2 clients are told to go away", || {
            client.run(async {
                let Ok(mut sender) = client.sender().ready().await else { return true };
                match sender.send_request(request("GET", "/"), true) {
                    Ok((response, _)) => response.await.is_err(),
                    Err(_) => true,
                }
            })
        });
        sending.send_data("after".into(), true).unwrap();
        let reply = client.run(receive(response));
        assert_eq!((reply.text().as_str(), reply.complete), ("before after", true), "{way:?}");
        assert!(tunnel.left.admin().stat("http.entry.downstream_cx_drain_close") > 0);
    }
}

/// The `connection` header of an answer to a client that would go on.
fn get_keeping(tunnel: &Tunnel) -> String {
    let mut stream = connect(tunnel.entry());
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    read_reply(&mut BufReader::new(stream)).header("connection").to_owned()
}
