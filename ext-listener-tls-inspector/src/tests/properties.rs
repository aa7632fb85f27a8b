use std::net::IpAddr;

use proptest::{collection::vec, prelude::*};

use super::hello::{Hello, alpn, extension, record, server_names, signature_algorithms};
use crate::records::{Beginning, Records};

/// What the bytes begin with, when they come all at once.
fn at_once(bytes: &[u8]) -> (Option<Beginning>, usize) {
    let mut records = Records::default();
    (records.look_at(bytes), records.processed())
}

/// Server name and protocols, as rustls reads them; `None` if it takes the message for no ClientHello.
fn as_rustls_reads(mut bytes: &[u8]) -> Option<(Option<String>, Vec<String>)> {
    let mut acceptor = rustls::server::Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).unwrap();
    }
    let accepted = acceptor.accept().ok()??;
    let hello = accepted.client_hello();
    let protocols = hello.alpn().into_iter().flatten();
    let protocols = protocols.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    Some((hello.server_name().map(str::to_owned), protocols))
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    "[a-zA-Z0-9][a-zA-Z0-9.-]{0,40}".prop_map(String::into_bytes)
}

prop_compose! {
    fn hellos()(
        names in vec(label(), 0..3),
        protocols in proptest::option::of(vec(vec(any::<u8>(), 0..10), 0..4)),
        others in vec((30..60_u16, vec(any::<u8>(), 0..40)), 0..4),
        session_id in vec(any::<u8>(), 0..34),
        compression_methods in prop_oneof![9 => Just(vec![0]), 1 => vec(any::<u8>(), 0..3)],
    ) -> Hello {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut extensions = vec![signature_algorithms()];
        if !names.is_empty() {
            extensions.push(server_names(0, &names));
        }
        if let Some(protocols) = &protocols {
            extensions.push(alpn(&protocols.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        }
        // Extensions that rustls does not know, so that their content does not matter to it.
        extensions.extend(others.iter().map(|(kind, content)| extension(kind + 10_000, content)));
        Hello { session_id, compression_methods, ..Hello::with(&extensions) }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..600)) {
        at_once(&bytes);
        at_once(&record(22, &bytes));
        at_once(&record(22, &[&[1, 0, 0], &*bytes].concat()));
    }

    #[test]
    fn a_damaged_hello_is_read_without_a_panic(hello in hellos(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = hello.record();
        let at = at % bytes.len();
        bytes[at] = byte;
        at_once(&bytes);
        at_once(&bytes[..at]);
    }

    #[test]
    fn pieces_make_no_difference(hello in hellos(), cuts in vec(1..80_usize, 0..40)) {
        let message = hello.message();
        let mut rest = message.as_slice();
        let mut bytes = Vec::new();
        for cut in &cuts {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            bytes.extend(record(22, piece));
            rest = behind;
        }
        bytes.extend(record(22, rest));
        let mut records = Records::default();
        let piecewise = (0..=bytes.len()).find_map(|end| records.look_at(&bytes[..end]));
        prop_assert_eq!((piecewise, records.processed()), at_once(&bytes));
    }

    /// What rustls takes for a ClientHello is one, with the same server name and protocols.
    #[test]
    fn rustls_reads_the_same(hello in hellos()) {
        let bytes = hello.record();
        if let Some((server_name, protocols)) = as_rustls_reads(&bytes) {
            let (Some(Beginning::Hello(hello)), _) = at_once(&bytes) else {
                return Err(TestCaseError::fail("rustls takes it for a ClientHello"));
            };
            // rustls leaves out a dot at the end, and names that are IP addresses.
            let name = hello.server_name.as_deref().map(|name| name.strip_suffix('.').unwrap_or(name));
            prop_assert_eq!(name.filter(|name| name.parse::<IpAddr>().is_err()), server_name.as_deref());
            let offered: Vec<&str> = hello.application_protocols.iter().map(|name| &**name).collect();
            prop_assert_eq!(offered, protocols);
        }
    }
}
