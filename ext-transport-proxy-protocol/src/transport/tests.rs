use std::rc::Rc;

use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};
use underpass_core::{
    address::Address,
    cluster::{ClusterInfo, Host},
    filter_state::{Entry, LifeSpan, SharedWithUpstream},
    runtime::Layer,
    stream_info::{Passthrough, SharedStreamInfo},
    testing::{self, TestServer},
    transport_socket::UpstreamTransportSocketConfig,
    user_space_socket::{PairOptions, pair},
};
use underpass_ext_transport_raw_buffer as _;

use super::*;

const TYPE: &str = "'@type': type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.\
                    ProxyProtocolUpstreamTransport";
const RAW_BUFFER: &str = "transport_socket: {name: raw, typed_config: {'@type': \
                          type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}";

fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn UpstreamTransportSocket>, String> {
    let config = testing::read::<dyn UpstreamTransportSocketConfig>(&format!("{TYPE}\n{fields}"))?;
    server
        .build("cluster.c", |context| context.build(&config, UpstreamTransportSocketConfig::build))
        .map_err(|error| error.to_string())
}

/// A stream of a client at 1.2.3.4:1000 that wanted to go to 5.6.7.8:2000.
fn stream(server: &TestServer) -> SharedStreamInfo {
    let address = |text: &str| Address::Socket(text.parse().unwrap());
    server.stream(address("1.2.3.4:1000"), address("5.6.7.8:2000"))
}

fn receive(info: &SharedStreamInfo, source: &str, destination: &str, tlvs: &[(u8, &'static str)]) {
    let tlvs =
        tlvs.iter().map(|(kind, value)| Tlv { kind: *kind, value: Bytes::from_static(value.as_bytes()) });
    let header = ProxyHeader {
        source: Address::Socket(source.parse().unwrap()),
        destination: Address::Socket(destination.parse().unwrap()),
        tlvs: tlvs.collect(),
    };
    let entry = Entry {
        object: Rc::new(header),
        read_only: false,
        life_span: LifeSpan::Connection,
        shared_with_upstream: SharedWithUpstream::None,
    };
    info.filter_state.borrow_mut().set(FILTER_STATE_KEY, entry).unwrap();
}

/// A cluster with this transport socket.
struct Upstream<'s> {
    server: &'s TestServer,
    cluster: Arc<ClusterInfo>,
    transport: Arc<dyn UpstreamTransportSocket>,
}

impl<'s> Upstream<'s> {
    fn new(server: &'s TestServer, fields: &str) -> Self {
        let transport = build(server, &format!("{fields}\n{RAW_BUFFER}")).unwrap();
        let cluster = Arc::new(ClusterInfo::new("c", &server.context.stats));
        Self { server, cluster, transport }
    }

    /// Wraps `io` for a stream, lets the stream say "data", and ends it.
    async fn send(&self, io: BoxIo, downstream: Option<&SharedStreamInfo>) {
        let address = Address::internal("inner", "");
        let context = ConnectContext {
            worker: &self.server.worker(),
            cluster: &self.cluster,
            host: &Arc::new(Host::new(1, address.clone())),
            address: &address,
            downstream: downstream.map(|info| &**info),
            passthrough: Passthrough::default(),
            reads_at_once: false,
        };
        let mut io = self.transport.wrap(io, &context).await.unwrap();
        io.write_all(b"data").await.unwrap();
        io.shutdown().await.unwrap();
    }

    /// What arrives over an internal hop, with bytes that are no text escaped.
    async fn receive(&self, downstream: Option<&SharedStreamInfo>) -> String {
        let (client, mut inner) = pair(PairOptions::new(Address::internal("inner", "")));
        self.send(Box::new(client), downstream).await;
        let mut bytes = Vec::new();
        inner.read_to_end(&mut bytes).await.unwrap();
        bytes.escape_ascii().to_string()
    }
}

async fn sent(server: &TestServer, fields: &str, downstream: Option<&SharedStreamInfo>) -> String {
    Upstream::new(server, fields).receive(downstream).await
}

const V2: &str = "config: {version: V2}";
const TOO_LONG: &str = "cluster.c.upstream.proxyprotocol.v2_tlvs_exceed_max_length";

#[tokio::test]
async fn the_header_comes_first_and_names_the_client() {
    let server = TestServer::default();
    let info = stream(&server);
    insta::assert_snapshot!(sent(&server, "", Some(&info)).await, @r#"PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\ndata"#);
    insta::assert_snapshot!(sent(&server, V2, Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x07\xd0data"#);
}

/// The header counts as traffic of the cluster; the relay counts what follows.
#[tokio::test]
async fn the_header_is_counted() {
    let server = TestServer::default();
    let upstream = Upstream::new(&server, V2);
    assert_eq!(server.find_stat(TOO_LONG), Some(0));
    upstream.receive(Some(&stream(&server))).await;
    assert_eq!(server.find_stat("cluster.c.upstream_cx_tx_bytes_total"), Some(28));
    assert_eq!(server.find_stat(TOO_LONG), Some(0));
}

#[tokio::test]
async fn a_header_of_the_client_goes_on_with_the_tlvs_that_are_wanted() {
    let server = TestServer::default();
    let info = stream(&server);
    receive(&info, "9.9.9.9:99", "8.8.8.8:88", &[(1, "one"), (2, "two"), (1, "again")]);
    insta::assert_snapshot!(sent(&server, "", Some(&info)).await, @r#"PROXY TCP4 9.9.9.9 8.8.8.8 99 88\r\ndata"#);
    insta::assert_snapshot!(sent(&server, V2, Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\t\t\t\t\x08\x08\x08\x08\x00c\x00Xdata"#);
    let all = "config: {version: V2, pass_through_tlvs: {}}";
    insta::assert_snapshot!(sent(&server, all, Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n!\x11\x00 \t\t\t\t\x08\x08\x08\x08\x00c\x00X\x01\x00\x03one\x02\x00\x03two\x01\x00\x05againdata"#);
    let some = "config: {version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [2]}}";
    insta::assert_snapshot!(sent(&server, some, Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x12\t\t\t\t\x08\x08\x08\x08\x00c\x00X\x02\x00\x03twodata"#);
    let added = "config: {version: V2, pass_through_tlvs: {}, added_tlvs: [{type: 1, value: aGk=}, {type: 1, value: aGk=}]}";
    insta::assert_snapshot!(sent(&server, added, Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x1c\t\t\t\t\x08\x08\x08\x08\x00c\x00X\x01\x00\x02hi\x01\x00\x02hi\x02\x00\x03twodata"#);
}

/// A request's connection will serve other clients' requests, so the header must not name one of them.
#[tokio::test]
async fn a_connection_for_nobody_in_particular_names_itself() {
    let server = TestServer::default();
    let request = stream(&server);
    request.details.protocol.set(Some("HTTP/1.1"));
    for downstream in [None, Some(&request)] {
        assert_eq!(sent(&server, V2, downstream).await, r"\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00data");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let connected = TcpStream::connect(upstream).await.unwrap();
        let own = connected.local_addr().unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        Upstream::new(&server, "").send(Box::new(connected), downstream).await;
        let mut line = String::new();
        accepted.read_to_string(&mut line).await.unwrap();
        assert_eq!(
            line,
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\ndata", own.port(), upstream.port())
        );
    }
    receive(&request, "9.9.9.9:99", "8.8.8.8:88", &[]);
    assert!(sent(&server, "", Some(&request)).await.starts_with("PROXY TCP4 9.9.9.9 8.8.8.8 99 88"));
}

#[tokio::test]
async fn a_stream_without_ip_addresses_is_told_apart() {
    let internal =
        |server: &TestServer| server.stream(Address::internal_client(), Address::internal("inner", ""));
    let server = TestServer::default();
    let info = internal(&server);
    insta::assert_snapshot!(sent(&server, "", Some(&info)).await, @r#"PROXY UNKNOWN\r\ndata"#);
    insta::assert_snapshot!(sent(&server, V2, Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00data"#);
    insta::assert_snapshot!(sent(&server, &format!("{V2}\nallow_unspecified_address: true"), Some(&info)).await, @r#"\r\n\r\n\x00\r\nQUIT\n!\x00\x00\x00data"#);
    // As Envoy has it: no header, and the counter of something else.
    let off = [(PROXY_PROTOCOL_WITHOUT_ADDRESSES.key.to_owned(), underpass_core::config::Value::Bool(false))];
    let envoy = TestServer::with_runtime(vec![Layer::from_struct("l", &off.into_iter().collect())]);
    let upstream = Upstream::new(&envoy, V2);
    assert_eq!(upstream.receive(Some(&internal(&envoy))).await, "data");
    assert_eq!(envoy.find_stat(TOO_LONG), Some(1));
}

#[tokio::test]
async fn pools_are_split_by_what_the_header_says() {
    let server = TestServer::default();
    let key = |fields: &str, info: &SharedStreamInfo| {
        let transport = build(&server, &format!("{fields}\n{RAW_BUFFER}")).unwrap();
        let mut key = Vec::new();
        transport.extend_pool_key(&info.filter_state.borrow(), &mut key);
        key
    };
    let with = |source, tlvs: &[(u8, &'static str)]| {
        let info = stream(&server);
        receive(&info, source, "8.8.8.8:88", tlvs);
        info
    };
    let (one, other, with_tlv) =
        (with("9.9.9.9:99", &[]), with("9.9.9.9:98", &[]), with("9.9.9.9:99", &[(1, "x")]));
    assert!(key("", &stream(&server)).is_empty());
    assert_ne!(key("", &one), key("", &other));
    assert_eq!(key("", &one), key("", &with_tlv));
    let by_tlvs = "tlv_as_pool_key: true\nconfig: {version: V2, pass_through_tlvs: {}}";
    assert_ne!(key(by_tlvs, &one), key(by_tlvs, &with_tlv));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let error = |fields: &str| build(&TestServer::default(), fields).err().expect("this is wrong");
    insta::assert_snapshot!(error("config: {version: V3}"), @"
    test.yaml:1:1: error: transport_socket: value is required
    test.yaml:2:19: error: config.version: unknown value `V3`; did you mean `V1`? Possible: V1, V2
    ");
    insta::assert_snapshot!(error(&format!("config: {{added_tlvs: [{{type: 1}}]}}\n{RAW_BUFFER}")), @"config.added_tlvs[0].value: Invalid TLV configuration: 'value' must be set.");
    insta::assert_snapshot!(error(&format!("config: {{added_tlvs: [{{type: 256, value: aGk=}}]}}\n{RAW_BUFFER}")), @"test.yaml:2:30: error: config.added_tlvs[0].type: 256 is out of range: it must be from 0 to 255");
}
