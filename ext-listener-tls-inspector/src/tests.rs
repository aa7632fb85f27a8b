mod hello;
mod properties;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::{
    listener_filter::{AcceptedSocket, ListenerFilterError},
    testing::{self, TestServer},
};

use super::*;
use hello::{Hello, alpn, extension, message, record, server_name, server_names, signature_algorithms};

fn filter(server: &TestServer, fields: &str) -> Arc<dyn ListenerFilter> {
    let yaml = format!(
        "'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector\n{fields}"
    );
    let config = testing::read::<dyn ListenerFilterConfig>(&yaml).unwrap();
    server.build("", |context| config.build(context)).unwrap()
}

/// What the filter made of a client that sends `bytes`, in one text: its outcome, what it noted and what it counted.
async fn seen(fields: &str, bytes: &[u8]) -> String {
    let server = TestServer::default();
    let filter = filter(&server, fields);
    let (mut client, mut socket) = server.accept().await.unwrap();
    client.write_all(bytes).await.unwrap();
    let outcome = match filter.inspect(&mut socket).await {
        Ok(()) => "passed on".to_owned(),
        Err(error) => format!("closed: {error}"),
    };
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    socket.io.read_to_end(&mut rest).await.unwrap();
    assert!(rest == bytes, "the next stage reads {} of {} bytes", rest.len(), bytes.len());
    format!("{outcome}; {}; {}", noted(&socket), counted(&server))
}

fn noted(socket: &AcceptedSocket) -> String {
    let info = &socket.info;
    let metadata = info.dynamic_metadata.borrow();
    let reason = metadata.get("envoy.filters.listener.tls_inspector", &["failure_reason"]);
    let mut notes = vec![format!(
        "protocol {}",
        info.details.detected_transport_protocol.borrow().as_deref().unwrap_or("-")
    )];
    notes.extend(info.details.requested_server_name.borrow().as_deref().map(|name| format!("sni {name}")));
    let protocols = info.details.application_protocols.borrow();
    notes.extend((!protocols.is_empty()).then(|| format!("alpn {}", protocols.join(","))));
    notes.extend(reason.and_then(|reason| Some(reason.as_str()?.to_owned())));
    let words = info.details.downstream_transport_failure_reason.borrow();
    notes.extend(words.as_deref().and_then(|words| Some(words.split(':').nth(4)?.to_owned())));
    notes.join(", ")
}

fn counted(server: &TestServer) -> String {
    let snapshot = server.stats.snapshot();
    let counters = snapshot.counters.iter().filter(|stat| stat.value > 0);
    let names: Vec<String> =
        counters.map(|stat| stat.name.as_str().trim_start_matches("tls_inspector.").to_owned()).collect();
    names.join(" ")
}

#[tokio::test]
async fn a_tls_client_is_recognised_with_what_it_asks_for() {
    let both = Hello::with(&[server_name("A.Example"), alpn(&[b"h2", b"http/1.1"]), signature_algorithms()]);
    insta::assert_snapshot!(seen("", &both.record()).await, @"passed on; protocol tls, sni a.example, alpn h2,http/1.1; alpn_found sni_found tls_found");
    insta::assert_snapshot!(seen("", &Hello::with(&[signature_algorithms()]).record()).await, @"passed on; protocol tls; alpn_not_found sni_not_found tls_found");
    let tls10 = Hello { version: 0x0301, extensions: None, ..Hello::with(&[]) };
    insta::assert_snapshot!(seen("", &tls10.record()).await, @"passed on; protocol tls; alpn_not_found sni_not_found tls_found");
}

/// What Envoy 1.40 was seen to recognise, some of which rustls would not.
#[tokio::test]
async fn odd_hellos_are_recognised_as_envoy_does() {
    let named = || Hello::with(&[server_name("a.example")]);
    let plain = named().message();
    for (case, bytes) in [
        ("no signature algorithms", named().record()),
        ("an unknown minor version of the record", {
            let mut bytes = named().record();
            bytes[2] = 0xff;
            bytes
        }),
        ("no null compression", Hello { compression_methods: vec![1], ..named() }.record()),
        ("an empty list of protocols", Hello::with(&[server_name("a.example"), alpn(&[])]).record()),
        ("an empty protocol", Hello::with(&[server_name("a.example"), alpn(&[b"h2", b""])]).record()),
        ("two records", [record(22, &plain[..10]), record(22, &plain[10..])].concat()),
        ("a record for each byte", plain.iter().flat_map(|byte| record(22, &[*byte])).collect()),
        ("an empty record first", [record(22, b""), named().record()].concat()),
        ("a warning first", [record(21, &[1, 100]), named().record()].concat()),
        ("more behind it", [named().record(), b"more".to_vec()].concat()),
    ] {
        let seen = seen("", &bytes).await;
        let expected = "passed on; protocol tls, sni a.example; alpn_not_found sni_found tls_found";
        assert_eq!(seen, expected, "{case}");
    }
    for name in ["1.2.3.4", "a_b", &"a".repeat(255)] {
        let seen = seen("", &Hello::with(&[server_name(name)]).record()).await;
        assert!(seen.contains(&format!("sni {name};")), "{seen}");
    }
}

/// As seen in Envoy 1.40's metadata and access logs.
#[tokio::test]
async fn what_is_no_hello_is_passed_on_with_the_reason() {
    let named = || Hello::with(&[server_name("a.example")]);
    let mut wrong_version = named().record();
    wrong_version[1] = 2;
    for (bytes, reason) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "HTTP_REQUEST"),
        (b"POST / HTTP/1.1\r\n\r\n".to_vec(), "HTTP_REQUEST"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n".to_vec(), "HTTPS_PROXY_REQUEST"),
        (b"hello world".to_vec(), "WRONG_VERSION_NUMBER"),
        (vec![b'x'; 40_000], "WRONG_VERSION_NUMBER"),
        (wrong_version, "WRONG_VERSION_NUMBER"),
        (b"\x16\x03\x01\x48\x01xxxx".to_vec(), "ENCRYPTED_LENGTH_TOO_LONG"),
        (record(23, b"xxxx"), "UNEXPECTED_RECORD"),
        (record(20, &[1]), "UNEXPECTED_RECORD"),
        (record(22, b"\x01\x00\x40\x01xxxx"), "EXCESSIVE_MESSAGE_SIZE"),
        (record(22, &message(2, b"abc")), "UNEXPECTED_MESSAGE"),
        (record(22, &[named().message(), message(2, b"abc")].concat()), "EXCESS_HANDSHAKE_DATA"),
        (Hello::with(&[server_name("a"), server_name("a")]).record(), "CLIENTHELLO_PARSE_FAILED"),
        (Hello { cipher_suites: vec![0x13, 1, 0], ..named() }.record(), "CLIENTHELLO_PARSE_FAILED"),
        (Hello { cipher_suites: vec![], ..named() }.record(), "CLIENTHELLO_PARSE_FAILED"),
        (Hello { session_id: vec![0; 33], ..named() }.record(), "CLIENTHELLO_PARSE_FAILED"),
        (Hello { compression_methods: vec![], ..named() }.record(), "CLIENTHELLO_PARSE_FAILED"),
        (Hello { tail: b"xx".to_vec(), ..named() }.record(), "CLIENTHELLO_PARSE_FAILED"),
        (Hello::with(&[server_names(0, &[b"a", b"b"])]).record(), "ERROR_PARSING_EXTENSION"),
        (Hello::with(&[server_names(0, &[b""])]).record(), "ERROR_PARSING_EXTENSION"),
        (Hello::with(&[server_names(0, &[b"a\0b"])]).record(), "ERROR_PARSING_EXTENSION"),
        (Hello::with(&[server_names(0, &[&[b'a'; 256]])]).record(), "ERROR_PARSING_EXTENSION"),
        (Hello::with(&[server_names(1, &[b"a"])]).record(), "ERROR_PARSING_EXTENSION"),
        (Hello::with(&[extension(0, b"")]).record(), "ERROR_PARSING_EXTENSION"),
    ] {
        let expected = format!("passed on; protocol -, ClientHelloNotDetected, {reason}; tls_not_found");
        assert_eq!(seen("", &bytes).await, expected, "{bytes:x?}");
    }
}

#[tokio::test]
async fn others_are_turned_away_where_that_is_asked_for() {
    let fields = "close_connection_on_client_hello_parsing_errors: true";
    insta::assert_snapshot!(seen(fields, b"hello world").await, @"closed: the client does not begin with a ClientHello; protocol -, ClientHelloNotDetected, WRONG_VERSION_NUMBER; tls_not_found");
    assert!(seen(fields, &Hello::with(&[]).record()).await.starts_with("passed on"));
}

#[tokio::test]
async fn a_version_that_does_not_exist_is_turned_away() {
    for version in [0x0202, 0x0300, 0x0305, 0x0404] {
        let hello = Hello { version, ..Hello::with(&[server_name("a.example")]) };
        let seen = seen("", &hello.record()).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(seen, @"closed: the ClientHello has no version of TLS; protocol -, sni a.example, ClientHelloInvalidTlsVersion, CONNECTION_REJECTED; sni_found tls_not_found");
        }
    }
}

#[tokio::test]
async fn a_client_that_closes_instead_of_a_hello_is_turned_away() {
    insta::assert_snapshot!(seen("", &record(21, &[1, 0])).await, @"closed: the client closed before its ClientHello; protocol -;");
}

#[tokio::test]
async fn a_hello_has_a_limit() {
    let padded = |length| Hello::with(&[server_name("a.example"), extension(21, &vec![0; length])]).record();
    let overhead = padded(0).len();
    assert!(
        seen("max_client_hello_size: 400", &padded(400 - overhead))
            .await
            .starts_with("passed on; protocol tls")
    );
    insta::assert_snapshot!(seen("max_client_hello_size: 400", &padded(401 - overhead)).await, @"closed: the ClientHello is too long; protocol -, ClientHelloTooLarge; client_hello_too_large");
    let slowly = "max_client_hello_size: 4000\ninitial_read_buffer_size: 256";
    assert!(seen(slowly, &padded(3000)).await.starts_with("passed on; protocol tls"));
    assert!(seen(slowly, &padded(4000)).await.contains("ClientHelloTooLarge"));
    assert!(seen("", &padded(16_000)).await.starts_with("passed on; protocol tls"));
}

#[test]
fn limits_that_envoy_refuses_are_refused() {
    let error = |fields: &str| {
        let yaml = format!(
            "'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector\n{fields}"
        );
        testing::read::<dyn ListenerFilterConfig>(&yaml).unwrap_err()
    };
    insta::assert_snapshot!(error("max_client_hello_size: 16385"), @"test.yaml:2:24: error: max_client_hello_size: value must be inside range [256, 16384], not 16385");
    insta::assert_snapshot!(error("initial_read_buffer_size: 255"), @"test.yaml:2:27: error: initial_read_buffer_size: value must be inside range [256, 65536], not 255");
    insta::assert_snapshot!(error("enable_ja3_fingerprinting: true"), @"test.yaml:2:1: error: enable_ja3_fingerprinting: Envoy knows this field, Underpass does not implement it yet");
}

#[tokio::test]
async fn a_hello_may_come_in_pieces() {
    let server = TestServer::default();
    let filter = filter(&server, "");
    let (mut client, mut socket) = server.accept().await.unwrap();
    client.set_nodelay(true).unwrap();
    let bytes = Hello::with(&[server_name("a.example")]).record();
    let send = async {
        for byte in &bytes {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (outcome, ()) = tokio::join!(filter.inspect(&mut socket), send);
    outcome.unwrap();
    assert_eq!(noted(&socket), "protocol tls, sni a.example");
    server.stats.merge_histograms();
    let snapshot = server.stats.snapshot();
    let processed =
        snapshot.histograms.iter().find(|stat| stat.name.as_str() == "tls_inspector.bytes_processed");
    assert_eq!(processed.unwrap().value.cumulative.count(), 1);
}

#[tokio::test]
async fn half_a_hello_waits_and_is_still_there_when_the_listener_gives_up() {
    let server = TestServer::default();
    let filter = filter(&server, "");
    let (mut client, mut socket) = server.accept().await.unwrap();
    let bytes = Hello::with(&[server_name("a.example")]).record();
    let (half, other_half) = bytes.split_at(20);
    client.write_all(half).await.unwrap();
    tokio::time::timeout(Duration::from_millis(20), filter.inspect(&mut socket)).await.unwrap_err();
    client.write_all(other_half).await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    socket.io.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, bytes);
}

#[tokio::test]
async fn a_client_that_goes_away_is_the_end() {
    let server = TestServer::default();
    let filter = filter(&server, "");
    let (mut client, mut socket) = server.accept().await.unwrap();
    client.write_all(&[22, 3, 1]).await.unwrap();
    client.shutdown().await.unwrap();
    let error = filter.inspect(&mut socket).await.unwrap_err();
    assert!(
        matches!(error, ListenerFilterError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
    );
}
