use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn tlv(kind: u8, value: impl Into<Bytes>) -> Tlv {
    Tlv { kind, value: value.into() }
}

#[test]
fn lines_of_version_1() {
    let line =
        |source, destination| String::from_utf8(v1(Some((address(source), address(destination))))).unwrap();
    assert_eq!(line("1.2.3.4:1", "5.6.7.8:2"), "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n");
    assert_eq!(line("[1::2]:1", "[3::4]:2"), "PROXY TCP6 1::2 3::4 1 2\r\n");
    assert_eq!(line("1.2.3.4:1", "[3::4]:2"), "PROXY TCP6 ::ffff:1.2.3.4 3::4 1 2\r\n");
    assert_eq!(v1(None), b"PROXY UNKNOWN\r\n");
}

/// Bytes as Envoy 1.40 was seen to send them.
#[test]
fn headers_of_version_2() {
    let stream = Subject::Stream((address("1.2.3.4:1000"), address("5.6.7.8:2000")));
    let bytes =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\x07\xd0\xf0\x00\x02hi";
    assert_eq!(v2(stream, &[tlv(0xf0, "hi")]), (bytes.to_vec(), true));
    assert_eq!(v2(Subject::Local, &[tlv(1, "x")]), (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), true));
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x04\x01\0\x01x";
    assert_eq!(v2(Subject::Unspecified, &[tlv(1, "x")]), (unspecified.to_vec(), true));
}

#[test]
fn tlvs_that_do_not_fit_are_left_out() {
    let stream = Subject::Stream((address("1.2.3.4:1"), address("5.6.7.8:2")));
    let (header, all_fit) =
        v2(stream, &[tlv(1, "a"), tlv(2, vec![0; 65_520]), tlv(3, "b"), tlv(4, vec![0; 70_000])]);
    assert!(!all_fit);
    assert_eq!(header.len(), 16 + 12 + 4 + 4);
    let exactly = 65_535 - 12 - 3;
    assert!(v2(stream, &[tlv(1, vec![0; exactly])]).1);
    assert!(!v2(stream, &[tlv(1, vec![0; exactly + 1])]).1);
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    /// Another implementation reads back what was written.
    #[test]
    fn headers_are_understood(
        source in addresses(),
        destination in addresses(),
        tlvs in vec((0xe0..0xf0_u8, vec(any::<u8>(), 0..50)), 0..4),
    ) {
        let endpoints = one_family((source, destination));
        let tlvs: Vec<Tlv> = tlvs.into_iter().map(|(kind, value)| tlv(kind, value)).collect();
        for bytes in [v1(Some((source, destination))), v2(Subject::Stream((source, destination)), &tlvs).0] {
            let (header, length) = proxy_header::ProxyHeader::parse(&bytes, proxy_header::ParseConfig::default()).unwrap();
            prop_assert_eq!(length, bytes.len());
            let read = header.proxied_address().unwrap();
            prop_assert_eq!((read.source, read.destination), endpoints);
        }
    }
}
