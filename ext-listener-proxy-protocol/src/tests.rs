mod properties;

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::{
    address::Address,
    listener_filter::{AcceptedSocket, ListenerFilter, ListenerFilterConfig, ListenerFilterError},
    proxy_protocol::{FILTER_STATE_KEY, ProxyHeader},
    testing::{self, TestServer},
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 3, 232, 7, 208];

/// A header of version 2.
fn v2(version_and_command: u8, family_and_transport: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[version_and_command, family_and_transport], &length, content].concat()
}

fn v4_with(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let tlvs = tlvs.iter().flat_map(|(kind, value)| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[*kind], &length[..], value].concat()
    });
    v2(0x21, 0x11, &V4.into_iter().chain(tlvs).collect::<Vec<_>>())
}

fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn ListenerFilter>, String> {
    let yaml = format!(
        "'@type': type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol\n{fields}"
    );
    let config = testing::read::<dyn ListenerFilterConfig>(&yaml)?;
    server.build("", |context| config.build(context)).map_err(|error| error.to_string())
}

/// The filter on a connection whose client has sent these pieces and then nothing more.
struct Inspected {
    server: TestServer,
    /// Its stats live as long as it does.
    _filter: Arc<dyn ListenerFilter>,
    client: tokio::net::TcpStream,
    socket: AcceptedSocket,
    outcome: Result<(), ListenerFilterError>,
}

async fn inspect(fields: &str, bytes: &[u8]) -> Inspected {
    let server = TestServer::default();
    let filter = build(&server, fields).unwrap();
    let (mut client, mut socket) = server.accept().await.unwrap();
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let outcome = filter.inspect(&mut socket).await;
    Inspected { server, _filter: filter, client, socket, outcome }
}

impl Inspected {
    /// What became of the connection, what was counted, and what the next stage reads, in one line.
    async fn summary(mut self) -> String {
        let outcome = match &self.outcome {
            Ok(()) => self.addresses(),
            Err(ListenerFilterError::Io(_)) => "client gone".to_owned(),
            Err(error) => error.to_string(),
        };
        let mut rest = Vec::new();
        if self.outcome.is_ok() {
            self.socket.io.read_to_end(&mut rest).await.unwrap();
        }
        let counters = self.server.stats.snapshot().counters;
        let counted: Vec<_> =
            counters.iter().filter(|stat| stat.value > 0).map(|stat| stat.name.to_string()).collect();
        format!("{outcome}; {}; {}", counted.join(" "), String::from_utf8_lossy(&rest))
    }

    fn addresses(&self) -> String {
        let addresses = self.socket.info.addresses.borrow();
        assert_eq!(*addresses.direct_remote(), Address::from(self.client.local_addr().unwrap()));
        if addresses.remote() == addresses.direct_remote() && addresses.local() == addresses.direct_local() {
            assert!(!self.socket.info.local_address_restored.get());
            return "addresses kept".to_owned();
        }
        assert_eq!(
            self.socket.info.local_address_restored.get(),
            addresses.local() != addresses.direct_local()
        );
        format!("{} -> {}", addresses.remote(), addresses.local())
    }
}

async fn seen(fields: &str, bytes: impl AsRef<[u8]>) -> String {
    inspect(fields, bytes.as_ref()).await.summary().await
}

/// The lines were tried on Envoy 1.40, which took the same ones.
#[tokio::test]
async fn lines_of_version_1_that_are_right() {
    const V4: &str = "1.2.3.4:1000 -> 5.6.7.8:2000";
    const KEPT: &str = "addresses kept";
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(108 - 16));
    for (line, addresses) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n", V4),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000 \r\n", V4),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01000 +2000\r\n", V4),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", "1.2.3.4:0 -> 5.6.7.8:0"),
        ("PROXY TCP6 1:2::3 5:6::7 1000 2000\r\n", "[1:2::3]:1000 -> [5:6::7]:2000"),
        ("PROXY TCP6 ::ffff:1.2.3.4 ::ffff:5.6.7.8 1 2\r\n", "[::ffff:1.2.3.4]:1 -> [::ffff:5.6.7.8]:2"),
        ("PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n", "[fe80::1%1]:1 -> [fe80::2]:2"),
        ("PROXY UNKNOWN\r\n", KEPT),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", KEPT),
        (&longest, KEPT),
    ] {
        let expected = format!("{addresses}; proxy_proto.versions.v1.found; data");
        assert_eq!(seen("", format!("{line}data")).await, expected, "{line:?}");
    }
}

/// As above; Envoy refused the same ones.
#[tokio::test]
async fn lines_of_version_1_that_are_wrong() {
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(109 - 16));
    for line in [
        "PROXY UNKNOWNx junk\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1000 2000\r\n",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1000 65536\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1::2 5.6.7.8 1000 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1000 2\r\n",
        "PROXY TCP4 224.0.0.1 5.6.7.8 1000 2\r\n",
        "PROXY TCP4 0.0.0.0 5.6.7.8 1000 2\r\n",
        "PROXY TCP4 1.2.3.4 0.0.0.0 1000 2\r\n",
        "PROXY TCP4 255.255.255.255 1.2.3.4 1000 2\r\n",
        "PROXY TCP6 ff02::1 1::2 1000 2\r\n",
        "PROXY TCP6 :: 1::2 1000 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n",
        "GET /\r\n",
        &too_long,
    ] {
        let seen = seen("", line).await;
        let counted = "; downstream_cx_proxy_proto_error proxy_proto.versions.v1.error; ";
        assert!(
            seen.starts_with("malformed PROXY protocol header: ") && seen.ends_with(counted),
            "{line:?}: {seen}"
        );
    }
}

#[tokio::test]
async fn what_is_no_header_is_turned_away() {
    for bytes in [
        &b"proxy TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\nabcdefghijkl",
        &[b"PROXY UNKNOWN ", &*vec![b'x'; 200]].concat(),
    ] {
        let expected =
            "no PROXY protocol header; downstream_cx_proxy_proto_error proxy_proto.not_found_disallowed; ";
        assert_eq!(seen("", bytes).await, expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

/// With fewer bytes than it takes to tell, Envoy waits, and so does this filter.
#[tokio::test]
async fn too_little_to_tell_is_waited_for() {
    for bytes in [
        &b""[..],
        b"hello",
        b"\r\n",
        b"\r\nabc",
        b"PROXY TCP4 1.2",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        SIGNATURE,
    ] {
        assert_eq!(seen("", bytes).await, "client gone; ; ", "{:?}", String::from_utf8_lossy(bytes));
    }
}

/// The headers were tried on Envoy 1.40, with the same outcome.
#[tokio::test]
async fn headers_of_version_2() {
    let v6: Vec<u8> = (0..32).chain([3, 232, 7, 208]).collect();
    let unix = [0; 216];
    let any = [0, 0, 0, 0, 5, 6, 7, 8, 3, 232, 7, 208];
    let found = "proxy_proto.versions.v2.found; data";
    for (header, addresses) in [
        (v2(0x21, 0x11, &V4), "1.2.3.4:1000 -> 5.6.7.8:2000"),
        (v2(0x21, 0x12, &V4), "1.2.3.4:1000 -> 5.6.7.8:2000"),
        (
            v2(0x21, 0x21, &v6),
            "[1:203:405:607:809:a0b:c0d:e0f]:1000 -> [1011:1213:1415:1617:1819:1a1b:1c1d:1e1f]:2000",
        ),
        (v2(0x20, 0x00, &[]), "addresses kept"),
        (v2(0x20, 0x11, &[]), "addresses kept"),
        (v2(0x20, 0x11, &V4), "addresses kept"),
        (v2(0x20, 0x31, &unix), "addresses kept"),
        (v2(0x20, 0x00, &[0xea, 0, 2, b'x', b'x']), "addresses kept"),
    ] {
        let seen = seen("", [&*header, b"data"].concat()).await;
        assert_eq!(seen, format!("{addresses}; {found}"), "{header:x?}");
    }
    for (header, reason) in [
        (v2(0x21, 0x00, &[]), "the addresses are neither IPv4 nor IPv6"),
        (v2(0x21, 0x31, &unix), "the addresses are neither IPv4 nor IPv6"),
        (v2(0x21, 0x10, &V4), "the transport is neither a stream nor datagrams"),
        (v2(0x22, 0x11, &V4), "the command is neither LOCAL nor PROXY"),
        (v2(0x11, 0x11, &V4), "the version is not 2"),
        (v2(0x21, 0x11, &V4[1..]), "the addresses do not fit"),
        (v2(0x21, 0x11, &any), "an address is no unicast address"),
        (v2(0x21, 0x11, &[&V4[..], &[0xea, 0]].concat()), "a TLV has no length"),
        (v2(0x21, 0x11, &[&V4[..], &[0xea, 0, 5, 1]].concat()), "a TLV is longer than the header"),
    ] {
        let expected = format!(
            "malformed PROXY protocol header: {reason}; downstream_cx_proxy_proto_error proxy_proto.versions.v2.error; "
        );
        assert_eq!(seen("", &header).await, expected, "{header:x?}");
    }
}

#[tokio::test]
async fn versions_can_be_disallowed_and_headers_be_absent() {
    let v1 = "PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n";
    let v2 = v4_with(&[]);
    let only_v2 = "disallowed_versions: [V1]\nstat_prefix: pre";
    insta::assert_snapshot!(seen(only_v2, v1).await, @"PROXY protocol headers of this version are disallowed; proxy_proto.pre.versions.v1.disallowed proxy_proto.pre.versions.v1.found;");
    insta::assert_snapshot!(seen(only_v2, &v2).await, @"1.2.3.4:1000 -> 5.6.7.8:2000; proxy_proto.pre.versions.v2.found;");
    let optional = "allow_requests_without_proxy_protocol: true";
    insta::assert_snapshot!(seen(optional, v1).await, @"1.2.3.4:1000 -> 5.6.7.8:2000; proxy_proto.versions.v1.found;");
    insta::assert_snapshot!(seen(optional, &v2).await, @"1.2.3.4:1000 -> 5.6.7.8:2000; proxy_proto.versions.v2.found;");
    insta::assert_snapshot!(seen(optional, "GET / HTTP/1.1\r\n\r\n").await, @"addresses kept; proxy_proto.not_found_allowed; GET / HTTP/1.1");
    insta::assert_snapshot!(seen(optional, "PROGET").await, @"addresses kept; proxy_proto.not_found_allowed; PROGET");
    insta::assert_snapshot!(seen(optional, "PROXY TCP9 a b c d\r\n").await, @"malformed PROXY protocol header: the line is not PROXY, TCP4 or TCP6, two addresses and two ports; downstream_cx_proxy_proto_error proxy_proto.versions.v1.error;");
    insta::assert_snapshot!(seen(optional, "PROXY TCP4 1.2").await, @"client gone; ;");
    // A version that is disallowed counts as no header, where none is needed.
    insta::assert_snapshot!(seen(&format!("{optional}\ndisallowed_versions: [V1]"), v1).await, @"addresses kept; proxy_proto.not_found_allowed; PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000");
}

#[tokio::test]
async fn rules_note_tlvs_in_metadata() {
    let rules = "rules:
- {tlv_type: 0xea, on_tlv_present: {key: k}}
- {tlv_type: 0xeb, on_tlv_present: {key: other, metadata_namespace: my.ns}}
- {tlv_type: 0x02, on_tlv_present: {key: bytes, value_string_encoding: BASE64}}
- {tlv_type: 0x03}";
    let header = v4_with(&[
        (0xea, b"a\xff\xc3\xa9b"),
        (0xea, b"the first one counts"),
        (0xeb, b""),
        (0x02, b"hello\xff"),
        (0x03, b"x"),
        (0x04, b"padding"),
    ]);
    let inspected = inspect(rules, &header).await;
    let metadata = inspected.socket.info.dynamic_metadata.borrow();
    let printed: Vec<_> = metadata.iter().map(|(name, values)| format!("{name} {values:?}")).collect();
    insta::assert_snapshot!(printed.join("\n"), @r#"
    envoy.filters.listener.proxy_protocol Struct({"bytes": String("aGVsbG//"), "k": String("a!éb")})
    my.ns Struct({"other": String("")})
    "#);
}

#[tokio::test]
async fn rules_note_tlvs_in_filter_state() {
    let rules = "tlv_location: FILTER_STATE\nrules: [{tlv_type: 0xea, on_tlv_present: {key: k}}]";
    let inspected = inspect(rules, &v4_with(&[(0xea, b"x\xff"), (0xeb, b"y")])).await;
    let state = inspected.socket.info.filter_state.borrow();
    let object = state.get("envoy.network.proxy_protocol.tlv").unwrap();
    assert_eq!(object.serialize_as_json(), Some(serde_json::json!({"k": "x!"})));
    assert_eq!((object.field("k"), object.field("other")), (Some("x!".into()), None));
    assert!(inspected.socket.info.dynamic_metadata.borrow().is_empty());
}

#[tokio::test]
async fn what_the_header_says_is_kept_for_headers_upstream() {
    let header = v4_with(&[(1, b"one"), (2, b"two"), (1, b"again")]);
    for (fields, kinds) in [
        ("", &[][..]),
        ("pass_through_tlvs: {}", &[1, 2, 1]),
        ("pass_through_tlvs: {match_type: INCLUDE, tlv_type: [1]}", &[1, 1]),
    ] {
        let inspected = inspect(fields, &header).await;
        let state = inspected.socket.info.filter_state.borrow();
        let kept = state.get_as::<ProxyHeader>(FILTER_STATE_KEY).unwrap();
        assert_eq!(kept.source.to_string(), "1.2.3.4:1000");
        assert_eq!(kept.destination.to_string(), "5.6.7.8:2000");
        assert!(
            kept.tlvs.iter().map(|tlv| tlv.kind).eq(kinds.iter().copied()),
            "{fields:?}: {:?}",
            kept.tlvs
        );
    }
    let local = inspect("", &v2(0x20, 0, &[])).await;
    let state = local.socket.info.filter_state.borrow();
    assert_eq!(
        state.get_as::<ProxyHeader>(FILTER_STATE_KEY).unwrap().source,
        local.socket.info.addresses.borrow().direct_remote().clone()
    );
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_be_long() {
    for header in [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n".to_vec(),
        v4_with(&[(1, b"one"), (2, b"two")]),
        v4_with(&[(1, &[b'x'; 300])]),
    ] {
        let server = TestServer::default();
        let filter = build(&server, "").unwrap();
        let (mut client, mut socket) = server.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        let send = async {
            for byte in header.iter().chain(b"data") {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(filter.inspect(&mut socket), send);
        outcome.unwrap();
        let mut rest = String::new();
        socket.io.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "data");
    }
    assert!(seen("", v4_with(&[(1, &vec![b'x'; 60_000])])).await.starts_with("1.2.3.4:1000"));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let error = |fields| build(&TestServer::default(), fields).err().expect("this is wrong");
    insta::assert_snapshot!(error("disallowed_versions: [V1, V2]"), @"disallowed_versions: Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.");
    insta::assert_snapshot!(error("disallowed_versions: [V3]"), @"test.yaml:2:23: error: disallowed_versions[0]: unknown value `V3`; did you mean `V1`? Possible: V1, V2");
    insta::assert_snapshot!(error("rules: [{tlv_type: 256, on_tlv_present: {key: k}}]"), @"test.yaml:2:20: error: rules[0].tlv_type: 256 is out of range: it must be from 0 to 255");
    insta::assert_snapshot!(error("rules: [{tlv_type: 1, on_tlv_present: {}}]"), @"test.yaml:2:39: error: rules[0].on_tlv_present: `key` is missing");
    insta::assert_snapshot!(error("pass_through_tlvs: {match_type: INCLUDE, tlv_type: [300]}"), @"test.yaml:2:53: error: pass_through_tlvs.tlv_type[0]: 300 is out of range: it must be from 0 to 255");
}
