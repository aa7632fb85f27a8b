//! Version 2: binary.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use underpass_core::proxy_protocol::Tlv;

use crate::{
    config::Version,
    header::{Beginning, Endpoints, Header},
};

/// What the header starts with.
pub(crate) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// How many bytes come before the addresses: signature, version and command, family and transport, length.
pub(crate) const FIXED: usize = 16;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;

/// The families of addresses that are understood.
#[derive(Debug, Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// How many bytes two addresses and two ports take.
    fn length(self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 36,
        }
    }

    fn endpoints(self, bytes: &[u8]) -> Option<Endpoints> {
        let (source, destination) = match self {
            Self::V4 => {
                let (addresses, ports) = bytes.split_first_chunk::<8>()?;
                let (source, destination) = addresses.split_first_chunk::<4>()?;
                let destination: [u8; 4] = destination.try_into().ok()?;
                with_ports(Ipv4Addr::from(*source), Ipv4Addr::from(destination), ports)?
            }
            Self::V6 => {
                let (addresses, ports) = bytes.split_first_chunk::<32>()?;
                let (source, destination) = addresses.split_first_chunk::<16>()?;
                let destination: [u8; 16] = destination.try_into().ok()?;
                with_ports(Ipv6Addr::from(*source), Ipv6Addr::from(destination), ports)?
            }
        };
        Some(Endpoints { source, destination })
    }
}

fn with_ports<A>(source: A, destination: A, ports: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    SocketAddr: From<(A, u16)>,
{
    let &[a, b, c, d] = ports else { return None };
    let (source_port, destination_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(((source, source_port).into(), (destination, destination_port).into()))
}

/// Reads the header, whose fixed part is there.
pub(crate) fn parse(fixed: [u8; FIXED], rest: &[u8]) -> Beginning {
    let [.., version_and_command, family_and_transport, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let family = match check(version_and_command, family_and_transport, length) {
        Ok(family) => family,
        Err(reason) => return Beginning::Malformed(Version::V2, reason),
    };
    let Some(content) = rest.get(..length) else { return Beginning::Incomplete(FIXED + length) };
    match read(family, content) {
        Ok((endpoints, tlvs)) => {
            Beginning::Header(Header { version: Version::V2, length: FIXED + length, endpoints, tlvs })
        }
        Err(reason) => Beginning::Malformed(Version::V2, reason),
    }
}

/// The family of the addresses; none for `LOCAL`, whose addresses have to be ignored.
fn check(
    version_and_command: u8,
    family_and_transport: u8,
    length: usize,
) -> Result<Option<Family>, &'static str> {
    if version_and_command >> 4 != 2 {
        return Err("the version is not 2");
    }
    let family = match (version_and_command & 0xf, family_and_transport >> 4) {
        (LOCAL, _) => return Ok(None),
        (PROXY, 1) => Family::V4,
        (PROXY, 2) => Family::V6,
        (PROXY, _) => return Err("the addresses are neither IPv4 nor IPv6"),
        _ => return Err("the command is neither LOCAL nor PROXY"),
    };
    if !matches!(family_and_transport & 0xf, STREAM | DATAGRAM) {
        return Err("the transport is neither a stream nor datagrams");
    }
    if length < family.length() {
        return Err("the addresses do not fit");
    }
    Ok(Some(family))
}

fn read(family: Option<Family>, content: &[u8]) -> Result<(Option<Endpoints>, Vec<Tlv>), &'static str> {
    let Some(family) = family else { return Ok((None, Vec::new())) };
    let (addresses, tlvs) = content.split_at_checked(family.length()).ok_or("the addresses do not fit")?;
    let endpoints = family.endpoints(addresses).ok_or("the addresses do not fit")?;
    Ok((Some(endpoints.checked()?), read_tlvs(tlvs)?))
}

fn read_tlvs(mut rest: &[u8]) -> Result<Vec<Tlv>, &'static str> {
    let mut tlvs = Vec::new();
    while !rest.is_empty() {
        let Some((&[kind, high, low], value)) = rest.split_first_chunk::<3>() else {
            return Err("a TLV has no length");
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, behind) = value.split_at_checked(length).ok_or("a TLV is longer than the header")?;
        tlvs.push(Tlv { kind, value: Bytes::copy_from_slice(value) });
        rest = behind;
    }
    Ok(tlvs)
}
