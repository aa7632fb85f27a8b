use std::net::SocketAddr;

use proptest::{collection::vec, prelude::*};
use proxy_header::{ProxiedAddress, ProxyHeader};

use super::v2;
use crate::{
    config::Version,
    header::{Accepted, Beginning, Endpoints, find},
};

const ANY: Accepted = Accepted { v1: true, v2: true, without: false };

/// Addresses that a connection can have, both of one family.
fn endpoints() -> impl Strategy<Value = Endpoints> {
    let v4 = || (1..224_u32, any::<u32>(), any::<u16>());
    let v4 = (v4(), v4()).prop_map(|(source, destination)| {
        let address = |(first, rest, port): (u32, u32, u16)| -> SocketAddr {
            (std::net::Ipv4Addr::from(first << 24 | rest >> 8), port).into()
        };
        Endpoints { source: address(source), destination: address(destination) }
    });
    let v6 = || (0x2000..0x4000_u128, any::<u128>(), any::<u16>());
    let v6 = (v6(), v6()).prop_map(|(source, destination)| {
        let address = |(first, rest, port): (u128, u128, u16)| -> SocketAddr {
            (std::net::Ipv6Addr::from(first << 112 | rest >> 16), port).into()
        };
        Endpoints { source: address(source), destination: address(destination) }
    });
    prop_oneof![v4, v6]
}

/// The header as another implementation writes it.
fn written(version: Version, endpoints: Option<Endpoints>, tlvs: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut header = match endpoints {
        Some(Endpoints { source, destination }) => {
            ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
        }
        None => ProxyHeader::with_local(),
    };
    let mut bytes = Vec::new();
    match version {
        Version::V1 => header.encode_v1(&mut bytes).unwrap(),
        Version::V2 => {
            for (kind, value) in tlvs {
                header.append_tlv(proxy_header::Tlv::Custom(*kind, value.into()));
            }
            header.encode_v2(&mut bytes).unwrap();
        }
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300), without in any::<bool>()) {
        let accepted = Accepted { without, ..ANY };
        find(&bytes, accepted);
        find(&[b"PROXY ", &*bytes].concat(), accepted);
        find(&[b"PROXY TCP4 ", &*bytes, b"\r\n"].concat(), accepted);
        find(&v2(0x21, 0x11, &bytes), accepted);
        find(&v2(0x21, 0x21, &bytes), accepted);
    }

    #[test]
    fn what_another_implementation_writes_is_read(
        v1 in any::<bool>(),
        endpoints in proptest::option::of(endpoints()),
        tlvs in vec((0xe0..0xf0_u8, vec(any::<u8>(), 0..50)), 0..4),
        behind in vec(any::<u8>(), 0..20),
    ) {
        let version = if v1 { Version::V1 } else { Version::V2 };
        let bytes = written(version, endpoints, &tlvs);
        let Beginning::Header(header) = find(&[&*bytes, &behind].concat(), ANY) else {
            return Err(TestCaseError::fail("there is a header"));
        };
        prop_assert_eq!((header.version, header.length, header.endpoints), (version, bytes.len(), endpoints));
        // TLVs of LOCAL are ignored, as are its addresses.
        let expected = if v1 || endpoints.is_none() { Vec::new() } else { tlvs };
        let read: Vec<(u8, Vec<u8>)> = header.tlvs.iter().map(|tlv| (tlv.kind, tlv.value.to_vec())).collect();
        prop_assert_eq!(read, expected);
    }

    /// However a header is cut, the pieces are waited for, and then it is read as if it had come at once.
    #[test]
    fn the_beginning_of_a_header_is_no_header_yet(
        v1 in any::<bool>(),
        endpoints in endpoints(),
        without in any::<bool>(),
    ) {
        let version = if v1 { Version::V1 } else { Version::V2 };
        let bytes = written(version, Some(endpoints), &[(0xea, vec![1, 2, 3])]);
        let accepted = Accepted { without, ..ANY };
        for end in 0..bytes.len() {
            let beginning = find(&bytes[..end], accepted);
            prop_assert!(matches!(beginning, Beginning::Incomplete(wanted) if wanted > end), "{end}: {beginning:?}");
        }
        prop_assert!(matches!(find(&bytes, accepted), Beginning::Header(_)));
    }
}
