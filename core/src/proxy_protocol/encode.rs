//! Writes headers (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::net::{IpAddr, SocketAddr};

use super::Tlv;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What two bytes can say the length of.
const MAX_CONTENT: usize = 65_535;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_V4: u8 = 0x11;
const TCP_OVER_V6: u8 = 0x21;

/// Who a stream is from, and where it was meant to go.
pub type Endpoints = (SocketAddr, SocketAddr);

/// What a header of version 2 is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A stream with these addresses.
    Stream(Endpoints),
    /// A stream whose addresses are not known.
    Unspecified,
    /// This proxy itself.
    Local,
}

/// The line of version 1.
pub fn v1(endpoints: Option<Endpoints>) -> Vec<u8> {
    let Some((source, destination)) = endpoints.map(one_family) else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// The header of version 2, and whether all TLVs did fit in it. `LOCAL` has none.
pub fn v2(subject: Subject, tlvs: &[Tlv]) -> (Vec<u8>, bool) {
    let (command, family, addresses) = match subject {
        Subject::Local => return (header(LOCAL, UNSPECIFIED, &[]), true),
        Subject::Unspecified => (PROXY, UNSPECIFIED, Vec::new()),
        Subject::Stream(endpoints) => {
            let (source, destination) = one_family(endpoints);
            let family = if source.is_ipv4() { TCP_OVER_V4 } else { TCP_OVER_V6 };
            (PROXY, family, addresses(source, destination))
        }
    };
    let mut content = addresses;
    let mut all_fit = true;
    for tlv in tlvs {
        let fits = content.len() + 3 + tlv.value.len() <= MAX_CONTENT;
        match u16::try_from(tlv.value.len()) {
            Ok(length) if fits => {
                content.push(tlv.kind);
                content.extend(length.to_be_bytes());
                content.extend(&tlv.value);
            }
            _ => all_fit = false,
        }
    }
    (header(command, family, &content), all_fit)
}

fn header(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    // proven: what is put into the content is counted there.
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    [SIGNATURE, &[command, family], &length, content].concat()
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    [octets(source.ip()), octets(destination.ip()), ports].concat()
}

/// A header has addresses of one family: where they differ, IPv4 is written as IPv6 writes it.
fn one_family((source, destination): Endpoints) -> Endpoints {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let as_v6 = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), address.port())),
        IpAddr::V6(_) => address,
    };
    (as_v6(source), as_v6(destination))
}

#[cfg(test)]
mod tests;
