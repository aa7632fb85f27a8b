//! Which filter chain a connection gets: by server name, protocol, addresses; what listener filters find out for it.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use underpass_tests::{
    Origin, Proxy, With,
    client::{End, connect_from, read_all},
    config::{bootstrap, chain, cluster, extension, listener_filter, matching, port, raw_buffer, tcp_proxy},
    origin::note,
    tls::client_hello,
};

/// Origins that say their names; a filter chain that leads to one is known by what its clients hear.
struct Named(Vec<(&'static str, Origin)>);

impl Named {
    fn start(names: &[&'static str]) -> Self {
        Self(names.iter().map(|name| (*name, Origin::speak_first(name))).collect())
    }

    /// A proxy with one listener of these filter chains.
    fn behind(&self, listener: Value) -> Proxy {
        let clusters = self.0.iter().map(|(name, origin)| cluster(name, [port(origin.port())]));
        Proxy::start(bootstrap([listener], clusters))
    }
}

/// The filters of a chain that leads to an origin.
fn to(name: &str) -> [Value; 1] {
    [tcp_proxy(name, name)]
}

fn listener(chains: impl IntoIterator<Item = Value>) -> Value {
    underpass_tests::config::listener("entry", [])
        .with(json!({ "filter_chains": chains.into_iter().collect::<Vec<_>>() }))
}

/// What a client hears that sends something first.
#[track_caller]
fn heard(mut stream: TcpStream, first: &[u8]) -> String {
    stream.write_all(first).expect("the connection is open");
    read_all(&mut stream).0
}

#[test]
fn server_name_and_protocol_choose_the_chain() {
    let origins = Named::start(&["exact", "suffix", "h2", "any_tls", "plain"]);
    let proxy = origins.behind(
        listener([
            matching(json!({ "server_names": ["www.example.com"] }), to("exact")),
            matching(json!({ "server_names": ["*.example.com"] }), to("suffix")),
            matching(
                json!({ "server_names": ["www.example.com"], "application_protocols": ["h2"] }),
                to("h2"),
            ),
            matching(json!({ "transport_protocol": "tls" }), to("any_tls")),
            matching(json!({ "transport_protocol": "raw_buffer" }), to("plain")),
        ])
        .with(json!({ "listener_filters": [listener_filter("tls_inspector.v3.TlsInspector")] })),
    );
    for (name, protocols, expected) in [
        ("www.example.com", &[][..], "exact"),
        ("WWW.Example.COM", &[], "exact"),
        ("www.example.com", &["http/1.1"], "exact"),
        ("www.example.com", &["h2", "http/1.1"], "h2"),
        ("other.example.com", &["h2"], "suffix"),
        ("deep.down.example.com", &[], "suffix"),
        ("example.com", &[], "any_tls"),
        ("example.org", &[], "any_tls"),
    ] {
        assert_eq!(
            heard(proxy.connect("entry"), &client_hello(name, protocols)),
            expected,
            "{name} {protocols:?}"
        );
    }
    assert_eq!(heard(proxy.connect("entry"), b"no TLS at all, but long enough"), "plain");
    let stats = proxy.admin().stats();
    assert_eq!(stats["tls_inspector.tls_found"], 8);
    assert_eq!(stats["tls_inspector.tls_not_found"], 1);
    assert_eq!(stats["tls_inspector.sni_found"], 8);
    assert_eq!(stats["tls_inspector.alpn_found"], 3);
}

#[test]
fn client_hello_may_come_in_pieces_and_is_forwarded_whole() {
    let origin = Origin::echo();
    let entry = listener([matching(json!({ "server_names": ["a.example"] }), to("up"))])
        .with(json!({ "listener_filters": [listener_filter("tls_inspector.v3.TlsInspector")] }));
    let proxy = Proxy::start(bootstrap([entry], [cluster("up", [port(origin.port())])]));
    let hello = client_hello("a.example", &["h2"]);
    let mut client = proxy.connect("entry");
    for piece in hello.chunks(40) {
        client.write_all(piece).unwrap();
        // A round trip in between, so that the proxy looks at less than a whole message.
        assert_eq!(proxy.admin().get("/ready"), "LIVE\n");
    }
    let mut back = vec![0; hello.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, hello);
}

#[test]
fn source_address_chooses_the_chain() {
    let origins = Named::start(&["one", "net", "rest"]);
    let prefix = |address: &str, length: u8| json!({ "source_prefix_ranges": [{ "address_prefix": address, "prefix_len": length }] });
    let proxy = origins.behind(
        listener([
            matching(prefix("127.0.0.0", 28), to("net")),
            matching(prefix("127.0.0.2", 32), to("one")),
        ])
        .with(json!({ "default_filter_chain": chain(to("rest")) })),
    );
    for (source, expected) in [(1, "net"), (2, "one"), (15, "net"), (16, "rest")] {
        let client = connect_from(Ipv4Addr::new(127, 0, 0, source), proxy.listener("entry"));
        assert_eq!(heard(client, b""), expected, "127.0.0.{source}");
    }
}

#[test]
fn source_type_and_source_port_choose_the_chain() {
    let origins = Named::start(&["here", "rest"]);
    let proxy = origins.behind(
        listener([matching(json!({ "source_type": "SAME_IP_OR_LOOPBACK" }), to("here"))])
            .with(json!({ "default_filter_chain": chain(to("rest")) })),
    );
    assert_eq!(heard(proxy.connect("entry"), b""), "here");
}

/// A listener that believes PROXY headers, so that a client can be anybody and want to go anywhere.
fn pretending(chains: impl IntoIterator<Item = Value>) -> Value {
    listener(chains).with(json!({ "listener_filters": [listener_filter("proxy_protocol.v3.ProxyProtocol")] }))
}

#[test]
fn destination_chooses_before_the_source_does() {
    let origins = Named::start(&["port", "near", "far", "from", "rest"]);
    let destination = |address: &str, length: u8| json!({ "prefix_ranges": [{ "address_prefix": address, "prefix_len": length }] });
    let proxy = origins.behind(
        pretending([
            matching(json!({ "destination_port": 8443 }), to("port")),
            matching(destination("10.1.0.0", 16), to("near")),
            matching(destination("10.0.0.0", 8), to("far")),
            matching(json!({ "source_ports": [7777] }), to("from")),
        ])
        .with(json!({ "default_filter_chain": chain(to("rest")) })),
    );
    for (header, expected) in [
        ("PROXY TCP4 1.2.3.4 10.1.2.3 7777 8443\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 10.1.2.3 7777 80\r\n", "near"),
        ("PROXY TCP4 1.2.3.4 10.2.2.3 1000 80\r\n", "far"),
        ("PROXY TCP4 1.2.3.4 11.2.2.3 7777 80\r\n", "from"),
        ("PROXY TCP4 1.2.3.4 11.2.2.3 1000 80\r\n", "rest"),
    ] {
        assert_eq!(heard(proxy.connect("entry"), header.as_bytes()), expected, "{header}");
    }
}

#[test]
fn connection_without_a_chain_is_closed_and_counted() {
    let origins = Named::start(&["tls"]);
    let proxy = origins.behind(
        listener([matching(json!({ "transport_protocol": "tls" }), to("tls"))])
            .with(json!({ "listener_filters": [listener_filter("tls_inspector.v3.TlsInspector")] })),
    );
    assert_eq!(heard(proxy.connect("entry"), b"plain text, long enough"), "");
    proxy.admin().wait_stat("listener.127.0.0.1_0.no_filter_chain_match", 1);
    assert_eq!(heard(proxy.connect("entry"), &client_hello("a.example", &[])), "tls");
}

#[test]
fn silent_client_is_closed_after_the_timeout_of_the_listener_filters() {
    let origins = Named::start(&["up"]);
    let inspected = |more: Value| {
        listener([chain(to("up"))])
            .with(json!({
                "listener_filters": [listener_filter("tls_inspector.v3.TlsInspector")],
                "listener_filters_timeout": "0.3s",
            }))
            .with(more)
    };
    let proxy = origins.behind(inspected(json!({})));
    let mut client = proxy.connect("entry");
    let (heard, end) = read_all(&mut client);
    assert_eq!((heard.as_str(), end), ("", End::Eof));
    assert_eq!(proxy.admin().stat("listener.127.0.0.1_0.downstream_pre_cx_timeout"), 1);

    let proxy = origins.behind(inspected(json!({ "continue_on_listener_filters_timeout": true })));
    let mut client = proxy.connect("entry");
    assert_eq!(read_all(&mut client), ("up".into(), End::Eof));
}

#[test]
fn proxy_headers_of_both_versions_are_believed() {
    let origin = Origin::echo();
    let log = underpass_tests::config::log_to(
        "entry.log",
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%",
    );
    let entry = pretending([chain([tcp_proxy("entry", "up").with(log)])]);
    let proxy = Proxy::start(bootstrap([entry], [cluster("up", [port(origin.port())])]));
    let version2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
        &[9, 8, 7, 6, 10, 0, 0, 2],
        &4444_u16.to_be_bytes(),
        &5555_u16.to_be_bytes(),
    ]
    .concat();
    for (at, (header, expected)) in [
        (&b"PROXY TCP4 1.2.3.4 10.0.0.1 1111 2222\r\n"[..], "1.2.3.4:1111 127.0.0.1 10.0.0.1:2222"),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1111 2222\r\n",
            "[2001:db8::1]:1111 127.0.0.1 [2001:db8::2]:2222",
        ),
        (&version2, "9.8.7.6:4444 127.0.0.1 10.0.0.2:5555"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = proxy.connect("entry");
        client.write_all(header).unwrap();
        assert_eq!(underpass_tests::client::ask(&mut client, "hello"), "hello");
        drop(client);
        assert_eq!(proxy.lines("entry.log", at + 1)[at], expected);
    }
    // What is no header is no client of this listener.
    let mut client = proxy.connect("entry");
    client.write_all(b"GET / HTTP/1.1\r\nhost: example\r\n\r\n").unwrap();
    assert_eq!(read_all(&mut client).0, "");
}

/// What an origin gets from a proxy that writes PROXY headers of a version, and who the client was.
fn written_header(version: &str) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let origin = Origin::start(|mut stream, record| {
        let mut buffer = [0; 1000];
        let count = stream.read(&mut buffer).unwrap_or(0);
        note(record, buffer[..count].escape_ascii().to_string());
    });
    let transport = extension(
        "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        json!({ "config": { "version": version }, "transport_socket": raw_buffer() }),
    );
    let up = cluster("up", [port(origin.port())]).with(json!({ "transport_socket": transport }));
    let proxy = Proxy::start(bootstrap([listener([chain(to("up"))])], [up]));
    let client = proxy.connect("entry");
    let header = origin.wait(1).remove(0);
    (header.into_bytes(), client.local_addr().unwrap(), client.peer_addr().unwrap())
}

#[test]
fn proxy_headers_of_both_versions_are_written() {
    let (header, client, entry) = written_header("V1");
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\\r\\n", client.port(), entry.port());
    assert_eq!(String::from_utf8_lossy(&header), expected);

    let (header, client, entry) = written_header("V2");
    let expected = [
        // The signature, version 2 and PROXY, TCP over IPv4, twelve bytes of addresses.
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
        &[127, 0, 0, 1, 127, 0, 0, 1],
        &client.port().to_be_bytes(),
        &entry.port().to_be_bytes(),
    ];
    assert_eq!(String::from_utf8_lossy(&header), expected.concat().escape_ascii().to_string());
}
