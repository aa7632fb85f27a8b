//! The skeleton of an ambient mesh's waypoint, without TLS: CONNECT in, GET in between, CONNECT out.
//!
//! `connect_terminate` (TCP) ends a CONNECT and notes in filter state whom it was for → internal listener `main_internal`
//! takes that for its own address and serves the requests → cluster `encap`, whose endpoint says where it stands →
//! internal listener `connect_originate` opens a CONNECT to that place, on another port → the next proxy's `terminate`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Proxy, With,
    client::connect,
    config::{
        bootstrap, cluster, endpoint, extension, filter_state, internal, internal_listener,
        internal_upstream, listener, listener_filter, log_to, metadata, port, tcp_proxy,
    },
    http_client::{H2Client, read_reply, receive, request},
    http_config::{
        accepts_connect, connect_route, hcm, hcm_with_filters, route, set_filter_state_on_request,
        speaks_http2, tunneling,
    },
};

const ADDRESSES: &str = "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %UPSTREAM_HOST%";

/// The next proxy: ends the tunnel and forwards to the origin.
fn next_proxy(origin: &HttpOrigin) -> Proxy {
    let terminate = hcm("terminate", [connect_route("up")]).with(accepts_connect());
    Proxy::start(bootstrap([listener("terminate", [terminate])], [cluster("up", [port(origin.port())])]))
}

/// The waypoint. What comes for anybody goes to `destination`, by way of a proxy at the same address on `tunnel_port`.
fn waypoint(destination: &str, tunnel_port: u16) -> Proxy {
    let original_dst = || json!({ "listener_filters": [listener_filter("original_dst.v3.OriginalDst")] });
    let key = |name: &str| format!("envoy.filters.listener.original_dst.{name}");
    let note = set_filter_state_on_request([
        filter_state(&key("local_ip"), &key("local_ip"), "%REQ(:AUTHORITY)%", "ONCE"),
        filter_state(&key("remote_ip"), &key("remote_ip"), "%DOWNSTREAM_REMOTE_ADDRESS%", "ONCE"),
    ]);
    let connect_terminate = hcm_with_filters("connect_terminate", [note], [connect_route("main_internal")])
        .with(accepts_connect());
    let main_internal = hcm("main_internal", [route("/", "encap")])
        .with(log_to("main_internal.log", &format!("{ADDRESSES} from %DOWNSTREAM_REMOTE_ADDRESS%")));
    let connect_originate = tcp_proxy("connect_originate", "connect_originate")
        .with(tunneling("%DOWNSTREAM_LOCAL_ADDRESS%", json!({})))
        .with(log_to("connect_originate.log", ADDRESSES));
    let place = metadata(json!({ "envoy.filters.listener.original_dst": { "local": destination } }));
    let encap = internal(&format!("connect_originate/{destination}")).with(place);
    let internal_to = |name: &str, endpoint: Value| {
        let passed = [("envoy.filters.listener.original_dst", "host")];
        let passed = if name == "encap" { &passed[..] } else { &[] };
        cluster(name, [endpoint]).with(json!({ "transport_socket": internal_upstream(passed) }))
    };
    let originate = json!({
        "name": "connect_originate", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
        "cleanup_interval": "60s", "connect_timeout": "5s",
        "original_dst_lb_config": {
            "upstream_port_override": tunnel_port,
            "metadata_key": { "key": "waypoint", "path": [{ "key": "address" }] },
        },
    });
    Proxy::start(bootstrap(
        [
            listener("connect_terminate", [connect_terminate]),
            internal_listener("main_internal", [main_internal]).with(original_dst()),
            internal_listener("connect_originate", [connect_originate]).with(original_dst()),
        ],
        [
            internal_to("main_internal", internal("main_internal")),
            internal_to("encap", encap),
            originate.with(speaks_http2()),
        ],
    ))
}

#[test]
fn a_request_in_a_tunnel_comes_out_and_goes_into_the_next_tunnel() {
    let origin = HttpOrigin::start();
    let next = next_proxy(&origin);
    let tunnel_port = next.listener("terminate").port();
    let waypoint = waypoint("127.0.0.1:20197", tunnel_port);
    let mut tunnel = connect(waypoint.listener("connect_terminate"));
    let from = tunnel.local_addr().unwrap();
    write!(tunnel, "CONNECT 10.1.2.3:8080 HTTP/1.1\r\nhost: 10.1.2.3:8080\r\n\r\n").unwrap();
    let mut tunnel = BufReader::new(tunnel);
    assert_eq!(status_line(&mut tunnel), "HTTP/1.1 200 OK");
    for path in ["/first", "/second"] {
        write!(tunnel.get_mut(), "GET {path} HTTP/1.1\r\nhost: service.example\r\n\r\n").unwrap();
        let reply = read_reply(&mut tunnel);
        assert_eq!(reply.status, 200);
        assert!(
            reply.text().starts_with(&format!("GET {path} HTTP/1.1\nhost: service.example\n")),
            "{}",
            reply.text()
        );
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        waypoint.admin().stat("cluster.connect_originate.upstream_rq_total"),
        1,
        "one tunnel carries both"
    );
    drop(tunnel);
    let log = waypoint.lines("main_internal.log", 2);
    assert_eq!(
        log[0],
        format!(
            "10.1.2.3:8080 envoy://internal_client_address/ envoy://connect_originate/127.0.0.1:20197 from {from}"
        ),
    );
    assert_eq!(waypoint.admin().stat("cluster.connect_originate.membership_total"), 1);
    assert!(
        waypoint
            .admin()
            .get("/clusters")
            .contains(&format!("connect_originate::127.0.0.1:{tunnel_port}::hostname"))
    );
    drop(waypoint);
    let terminated = next.lines("terminate.log", 1);
    assert!(terminated[0].contains(" CONNECT 127.0.0.1:20197 -"), "{terminated:?}");
}

#[test]
fn many_streams_of_one_client_go_where_each_was_meant_to() {
    let origin = HttpOrigin::start();
    let next = next_proxy(&origin);
    let waypoint = waypoint("127.0.0.1:20197", next.listener("terminate").port());
    let client = H2Client::connect(waypoint.listener("connect_terminate"));
    let tunnels: Vec<_> = (1..=20)
        .map(|at| {
            let (mut sending, response) = client.open(request("CONNECT", &format!("10.1.2.{at}:80")));
            let get = format!("GET /{at} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
            sending.send_data(get.into(), false).unwrap();
            (sending, response)
        })
        .collect();
    for (at, (sending, response)) in (1..).zip(tunnels) {
        let reply = client.run(receive(response));
        assert!(reply.text().contains(&format!("GET /{at} HTTP/1.1")), "{}", reply.text());
        drop(sending);
    }
    let mut log = waypoint.lines("main_internal.log", 20);
    log.sort();
    log.iter_mut().for_each(|line| *line = line.split(' ').next().unwrap().to_owned());
    let mut expected: Vec<_> = (1..=20).map(|at| format!("10.1.2.{at}:80")).collect();
    expected.sort();
    assert_eq!(log, expected);
}

#[test]
fn destinations_come_from_headers_metadata_and_filter_state() {
    let origins = [HttpOrigin::start(), HttpOrigin::start(), HttpOrigin::start()];
    let [by_header, by_metadata, by_filter_state] = &origins;
    let state = "envoy.network.transport_socket.original_dst_address";
    let filters = [
        set_filter_state_on_request([
            filter_state(state, state, "%REQ(x-state)%", "NONE").with(json!({ "skip_if_empty": true }))
        ]),
        extension(
            "filters.http.header_to_metadata.v3.Config",
            json!({ "request_rules": [{
                "header": "x-metadata",
                "on_header_present": { "metadata_namespace": "waypoint", "key": "address", "type": "STRING" },
            }] }),
        ),
    ];
    let hcm = hcm_with_filters("entry", filters, [route("/", "dst")]).with(log_to(
        "entry.log",
        "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST_NAME%",
    ));
    let dst = json!({
        "name": "dst", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s",
        "original_dst_lb_config": {
            "use_http_header": true,
            "metadata_key": { "key": "waypoint", "path": [{ "key": "address" }] },
        },
    });
    let proxy = Proxy::start(bootstrap([listener("entry", [hcm])], [dst]));
    let ask = |headers: &str| {
        let text = format!("GET / HTTP/1.1\r\nhost: h\r\n{headers}connection: close\r\n\r\n");
        underpass_tests::http_client::ask(proxy.listener("entry"), &text)
    };
    let header = format!("x-envoy-original-dst-host: {}\r\n", by_header.address());
    let metadata = format!("x-metadata: {}\r\n", by_metadata.address());
    let state = format!("x-state: {}\r\n", by_filter_state.address());
    assert_eq!(ask(&header).status, 200);
    assert_eq!(ask(&format!("{header}{metadata}")).status, 200);
    assert_eq!(ask(&format!("{header}{metadata}{state}")).status, 200);
    assert_eq!(origins.each_ref().map(|origin| origin.seen().len()), [1, 1, 1]);
    let nowhere = ask("x-envoy-original-dst-host: nowhere\r\n");
    assert_eq!((nowhere.status, nowhere.text().as_str()), (503, "no healthy upstream"));
    assert_eq!(proxy.admin().stat("cluster.dst.original_dst_host_invalid"), 1);
    let log = proxy.lines("entry.log", 4);
    assert_eq!(log[0], format!("200 - via_upstream dst{}", by_header.address()));
    assert_eq!(log[3], "503 UH no_healthy_upstream -");
}

/// An addition to Envoy, which hands over metadata of hosts and clusters only.
#[test]
fn what_is_known_of_a_request_crosses_a_hop() {
    let origin = HttpOrigin::start();
    let to_metadata = extension(
        "filters.http.header_to_metadata.v3.Config",
        json!({ "request_rules": [{
            "header": "x-tenant",
            "on_header_present": { "metadata_namespace": "of_request", "key": "tenant", "type": "STRING" },
        }] }),
    );
    let route_with_metadata =
        route("/", "to_inner").with(metadata(json!({ "of_route": { "tier": "gold" } })));
    let entry = hcm_with_filters("entry", [to_metadata], [route_with_metadata]);
    let line = "%DYNAMIC_METADATA(of_request:tenant)% %DYNAMIC_METADATA(of_route:tier)%";
    let inner = tcp_proxy("inner", "up").with(log_to("inner.log", line));
    let passed = internal_upstream(&[("of_request", "request"), ("of_route", "route")]);
    let to_inner = cluster("to_inner", [internal("inner")]).with(json!({ "transport_socket": passed }));
    let mut proxy = Proxy::start(bootstrap(
        [listener("entry", [entry]), internal_listener("inner", [inner])],
        [to_inner, cluster("up", [port(origin.port())])],
    ));
    let text = "GET / HTTP/1.1\r\nhost: h\r\nx-tenant: blue\r\nconnection: close\r\n\r\n";
    assert_eq!(underpass_tests::http_client::ask(proxy.listener("entry"), text).status, 200);
    proxy.stop();
    assert_eq!(proxy.lines("inner.log", 1), ["blue gold"]);
}

#[test]
fn a_chain_is_chosen_by_what_the_client_speaks() {
    let origin = HttpOrigin::start();
    let answer = |text: &str| {
        let config = json!({ "response": { "inline_string": text } });
        extension("filters.network.direct_response.v3.Config", config)
    };
    let chain = |protocol: &str, filter: Value| {
        underpass_tests::config::matching(json!({ "application_protocols": [protocol] }), [filter])
    };
    let entry = listener("entry", []).with(json!({
        "listener_filters": [listener_filter("http_inspector.v3.HttpInspector")],
        "filter_chains": [
            chain("http/1.1", hcm("one", [route("/", "up")])),
            chain("h2c", hcm("two", [route("/", "up")])),
        ],
        "default_filter_chain": underpass_tests::config::chain([answer("no HTTP")]),
    }));
    let up = cluster("up", [endpoint(underpass_tests::config::address("127.0.0.1", origin.port()))]);
    let proxy = Proxy::start(bootstrap([entry], [up]));
    assert_eq!(underpass_tests::http_client::get(proxy.listener("entry"), "/a").status, 200);
    assert_eq!(H2Client::connect(proxy.listener("entry")).get("/b").status, 200);
    let mut other = proxy.connect("entry");
    other.write_all(b"SSH-2.0-client\r\n").unwrap();
    assert_eq!(underpass_tests::client::read(&mut other, 7), "no HTTP");
    let stats = proxy.admin().stats();
    assert_eq!((stats["http.one.downstream_rq_2xx"], stats["http.two.downstream_rq_2xx"]), (1, 1));
    assert_eq!(stats["http_inspector.http_not_found"], 1);
}

fn status_line(stream: &mut BufReader<std::net::TcpStream>) -> String {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.trim_end().is_empty() {
            return lines.first().cloned().unwrap_or_default();
        }
        lines.push(line.trim_end().to_owned());
    }
}
