//! HTTP requests inside CONNECT tunnels: in at one connection manager, through internal listeners and a tunnel, and out at
//! another one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{BufReader, Read as _, Write as _},
    time::Duration,
};

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Origin, Proxy, With,
    client::{connect, reset},
    config::{bootstrap, cluster, internal, internal_listener, listener, log_to, port, tcp_proxy},
    eventually,
    feature::compare,
    h2_proxy::{Behaviour, H2Proxy},
    http_client::{self, H2Client, Reply, exchange, get, request},
    http_config::{accepts_connect, connect_route, hcm, post_route, route, speaks_http2, tunneling},
    origin::dead_port,
};

const HOST: &str = "tunnel.example:443";

/// How the tunnel is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http1Connect,
    Http2Connect,
    Http2Post,
}

const KINDS: [Kind; 3] = [Kind::Http1Connect, Kind::Http2Connect, Kind::Http2Post];

impl Kind {
    fn tunneling(self) -> Value {
        tunneling(HOST, json!({ "use_post": self == Self::Http2Post }))
    }

    fn cluster(self, proxy: u16) -> Value {
        let cluster = cluster("proxy", [port(proxy)]);
        if self == Self::Http1Connect { cluster } else { cluster.with(speaks_http2()) }
    }

    fn termination(self) -> Value {
        if self == Self::Http2Post { post_route("to_decap") } else { connect_route("to_decap") }
    }
}

/// `ingress` (HTTP) → `encap` (internal) → a tunnel to the proxy at this port.
fn encapsulates(kind: Kind, proxy: u16) -> Value {
    let encap = tcp_proxy("encap", "proxy")
        .with(kind.tunneling())
        .with(log_to("encap.log", "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%"));
    bootstrap(
        [
            listener("ingress", [hcm("ingress", [route("/", "to_encap")])]),
            internal_listener("encap", [encap]),
        ],
        [cluster("to_encap", [internal("encap")]), kind.cluster(proxy)],
    )
}

/// `terminator` ends tunnels → `decap` (internal, HTTP) → an HTTP server.
fn decapsulates(kind: Kind, origin: u16) -> Value {
    let mut terminator = hcm("terminator", [kind.termination()]);
    terminator["typed_config"] = terminator["typed_config"].take().with(accepts_connect());
    bootstrap(
        [
            listener("terminator", [terminator]),
            internal_listener("decap", [hcm("decap", [route("/", "origin")])]),
        ],
        [cluster("to_decap", [internal("decap")]), cluster("origin", [port(origin)])],
    )
}

/// One process that encapsulates and one that decapsulates, in front of an HTTP server.
struct Pair {
    encap: Proxy,
    decap: Proxy,
    origin: HttpOrigin,
}

impl Pair {
    fn start(kind: Kind) -> Self {
        let origin = HttpOrigin::start();
        let decap = Proxy::start(decapsulates(kind, origin.port()));
        let encap = Proxy::start(encapsulates(kind, decap.listener("terminator").port()));
        Self { encap, decap, origin }
    }

    fn ingress(&self) -> std::net::SocketAddr {
        self.encap.listener("ingress")
    }

    fn tunnels(&self) -> u64 {
        self.encap.admin().stat("cluster.proxy.upstream_rq_total")
    }
}

#[test]
fn requests_of_many_clients_travel_in_one_tunnel() {
    for kind in KINDS {
        let pair = Pair::start(kind);
        for at in 0..5 {
            let reply = get(pair.ingress(), &format!("/{at}"));
            assert_eq!((reply.status, reply.complete), (200, true), "{kind:?}: {reply:?}");
        }
        assert_eq!(pair.tunnels(), 1, "{kind:?}");
        let seen: Vec<_> = pair.origin.seen().into_iter().map(|it| it.target).collect();
        assert_eq!(seen, ["/0", "/1", "/2", "/3", "/4"], "{kind:?}");
    }
}

#[test]
fn bodies_of_fifty_megabytes_cross_a_tunnel_both_ways() {
    const SIZE: usize = 50_000_000;
    for kind in KINDS {
        let pair = Pair::start(kind);
        let reply = get(pair.ingress(), &format!("/bytes/{SIZE}"));
        assert_eq!((reply.body.len(), reply.complete), (SIZE, true), "{kind:?}");
        let mut upload = connect(pair.ingress());
        write!(upload, "POST /sink HTTP/1.1\r\nhost: test.example\r\ncontent-length: {SIZE}\r\n\r\n")
            .unwrap();
        upload.write_all(&vec![b'u'; SIZE]).unwrap();
        let reply = http_client::read_reply(&mut BufReader::new(upload));
        assert_eq!(reply.text(), SIZE.to_string(), "{kind:?}");
    }
}

#[test]
fn thousand_streams_share_one_tunnel_connection() {
    const STREAMS: usize = 1000;
    let pair = Pair::start(Kind::Http2Connect);
    let client = H2Client::connect(pair.ingress());
    // Each request that waits holds a tunnel of its own, since HTTP/1.1 travels in them.
    let replies: Vec<Reply> = client.run(async {
        let asked = (0..STREAMS)
            .map(|_| exchange(client.sender(), request("GET", "/delay/1500"), bytes::Bytes::new(), None));
        futures_util::future::join_all(asked).await
    });
    let answered = replies.iter().filter(|reply| reply.status == 200 && reply.text() == "late").count();
    assert_eq!(answered, STREAMS, "{:?}", replies.iter().find(|reply| reply.status != 200));
    let stats = pair.encap.admin().stats();
    assert_eq!(stats["cluster.proxy.upstream_cx_total"], 1);
    assert!(stats["cluster.proxy.upstream_rq_total"] > 900, "{}", stats["cluster.proxy.upstream_rq_total"]);
    drop(client);
}

#[test]
fn trailers_and_http2_requests_cross_a_tunnel() {
    let origin = HttpOrigin::start();
    let mut decap = decapsulates(Kind::Http2Connect, origin.port());
    let to_origin = decap["static_resources"]["clusters"][1].take();
    decap["static_resources"]["clusters"][1] = to_origin.with(speaks_http2());
    let decap = Proxy::start(decap);
    let mut encap = encapsulates(Kind::Http2Connect, decap.listener("terminator").port());
    let to_encap = encap["static_resources"]["clusters"][0].take();
    encap["static_resources"]["clusters"][0] = to_encap.with(speaks_http2());
    let encap = Proxy::start(encap);
    let client = H2Client::connect(encap.listener("ingress"));
    let reply = client.get("/trailers");
    assert_eq!((reply.text().as_str(), reply.trailer("x-trailer")), ("body", "done"));
    assert_eq!(client.get("/bytes/3000000").body.len(), 3_000_000);
    assert_eq!(encap.admin().stat("cluster.proxy.upstream_rq_total"), 1, "one tunnel carries both");
}

/// A proxy that refuses every tunnel with 403, over HTTP/1.1.
fn refuses() -> Origin {
    Origin::start(|mut stream, _| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    })
}

#[test]
fn refused_tunnel_keeps_its_status() {
    let origin = refuses();
    let config = encapsulates(Kind::Http1Connect, origin.port());
    let seen = |proxy: &Proxy| {
        let reply = get(proxy.listener("ingress"), "/");
        assert_eq!(proxy.lines("encap.log", 1), ["UF,URX tunnel_response:403"]);
        (reply.status, reply.text())
    };
    let [ours, off, envoys] = compare("tunnel_refusal_status", &config, seen);
    assert_eq!(ours.0, 403);
    assert!(ours.1.contains("refused") && ours.1.contains("403"), "{}", ours.1);
    let plain =
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
    assert_eq!([off, envoys], [(); 2].map(|()| (503, plain.to_owned())));
}

#[test]
fn refused_tunnel_keeps_its_status_over_http2_and_over_several_hops() {
    let far = H2Proxy::start(Behaviour::Answers(407));
    let mut config = encapsulates(Kind::Http2Connect, far.port());
    // ingress → outer → encap, and the requests over HTTP/2.
    let resources = &mut config["static_resources"];
    let ingress = listener("ingress", [hcm("ingress", [route("/", "to_outer")])]);
    let outer = internal_listener("outer", [tcp_proxy("outer", "to_encap")]);
    let encap = resources["listeners"][1].take();
    let (to_encap, to_proxy) = (resources["clusters"][0].take(), resources["clusters"][1].take());
    resources["listeners"] = json!([ingress, outer, encap]);
    let to_outer = cluster("to_outer", [internal("outer")]).with(speaks_http2());
    resources["clusters"] = json!([to_outer, to_encap, to_proxy]);
    let proxy = Proxy::start(config);
    for _ in 0..3 {
        let reply = H2Client::connect(proxy.listener("ingress")).get("/");
        assert_eq!(reply.status, 407, "{}", reply.text());
    }
}

#[test]
fn tunnel_that_cannot_be_opened_for_another_reason_is_a_503() {
    let proxy = Proxy::start(encapsulates(Kind::Http1Connect, dead_port()));
    let reply = get(proxy.listener("ingress"), "/");
    assert_eq!(reply.status, 503, "{}", reply.text());
}

#[test]
fn client_that_aborts_frees_every_hop_at_once() {
    for kind in KINDS {
        for path in ["/endless", "/silent"] {
            let pair = Pair::start(kind);
            let mut client = connect(pair.ingress());
            write!(client, "GET {path} HTTP/1.1\r\nhost: test.example\r\n\r\n").unwrap();
            eventually("the request is at the origin", || pair.origin.open_requests() == 1);
            reset(client);
            pair.encap.admin().wait_quiet();
            // The connection that tunnels share stays.
            pair.decap.admin().wait_stat("http.terminator.downstream_rq_active", 0);
            pair.decap.admin().wait_stat("http.decap.downstream_cx_active", 0);
            let open = pair.encap.admin().stat("cluster.proxy.upstream_rq_active");
            assert_eq!(open, 0, "{kind:?} {path}: no tunnel is left");
            assert_eq!(pair.decap.admin().stat("cluster.origin.upstream_cx_active"), 0, "{kind:?} {path}");
        }
    }
}

#[test]
fn without_the_feature_an_upload_that_nobody_takes_keeps_its_tunnel() {
    let stalled = Origin::stalled();
    let off = json!({ "name": "off", "static_layer": { "underpass.features.tunnel_abort": false } });
    let without = json!({ "layered_runtime": { "layers": [off] } });
    let decap = Proxy::start(decapsulates(Kind::Http2Connect, stalled.port()).with(without.clone()));
    let terminator = decap.listener("terminator").port();
    let encap = Proxy::start(encapsulates(Kind::Http2Connect, terminator).with(without));
    abort_a_stalled_upload(&encap);
    // A request that goes through afterwards shows that the abort has had its time.
    assert_eq!(encap.admin().get("/ready"), "LIVE\n");
    assert_eq!(encap.admin().stat("cluster.proxy.upstream_rq_active"), 1);
}

/// Begins an upload that never ends, and aborts it when every buffer on the way is full.
fn abort_a_stalled_upload(encap: &Proxy) {
    let mut client = connect(encap.listener("ingress"));
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    write!(client, "POST / HTTP/1.1\r\nhost: test.example\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
    while client.write_all(&[b'u'; 16 * 1024]).is_ok() {}
    reset(client);
}

#[test]
fn client_that_aborts_an_upload_that_nobody_takes_frees_every_hop() {
    for kind in KINDS {
        let stalled = Origin::stalled();
        let decap = Proxy::start(decapsulates(kind, stalled.port()));
        let encap = Proxy::start(encapsulates(kind, decap.listener("terminator").port()));
        abort_a_stalled_upload(&encap);
        encap.admin().wait_quiet();
        decap.admin().wait_stat("http.terminator.downstream_rq_active", 0);
        assert_eq!(encap.admin().stat("cluster.proxy.upstream_rq_active"), 0, "{kind:?}");
    }
}
