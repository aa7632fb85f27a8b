//! Version 1: a line of text.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV6},
    str,
};

use crate::{
    config::Version,
    header::{Beginning, Endpoints, Header},
};

/// What the line starts with.
pub(crate) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line, its end included. The specification has 107; Envoy takes one more.
const MAX_LINE: usize = 108;

/// The line, its end included, if it is complete.
///
/// # Errors
/// If it is longer than it may be.
pub(crate) fn find_line(bytes: &[u8]) -> Result<Option<&[u8]>, Beginning> {
    // An end of line right at the start may be the signature of version 2.
    if bytes.starts_with(b"\r\n") {
        return Ok(None);
    }
    match bytes.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) if end + 2 <= MAX_LINE => Ok(Some(&bytes[..end + 2])),
        Some(_) => Err(Beginning::Malformed(Version::V1, "the line is too long")),
        None if bytes.len() > MAX_LINE => Err(Beginning::NotFound),
        None => Ok(None),
    }
}

/// Reads the line.
pub(crate) fn parse(line: &[u8]) -> Beginning {
    match endpoints(line) {
        Ok(endpoints) => Beginning::Header(Header {
            version: Version::V1,
            length: line.len(),
            endpoints,
            tlvs: Vec::new(),
        }),
        Err(reason) => Beginning::Malformed(Version::V1, reason),
    }
}

fn endpoints(line: &[u8]) -> Result<Option<Endpoints>, &'static str> {
    let line = str::from_utf8(line).map_err(|_| "the line is no text")?;
    let parts: Vec<&str> = line.trim_ascii_end().split(' ').collect();
    let (source, destination) = match parts[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", "TCP4", source, destination, source_port, destination_port] => {
            (v4(source, source_port), v4(destination, destination_port))
        }
        ["PROXY", "TCP6", source, destination, source_port, destination_port] => {
            (v6(source, source_port), v6(destination, destination_port))
        }
        _ => return Err("the line is not PROXY, TCP4 or TCP6, two addresses and two ports"),
    };
    match (source, destination) {
        (Some(source), Some(destination)) => Endpoints { source, destination }.checked().map(Some),
        _ => Err("an address or a port is none"),
    }
}

fn v4(address: &str, port: &str) -> Option<SocketAddr> {
    let address: Ipv4Addr = address.parse().ok()?;
    Some((address, port.parse().ok()?).into())
}

/// With a port in brackets' form, since a bare address cannot have a scope (`fe80::1%2`).
fn v6(address: &str, port: &str) -> Option<SocketAddr> {
    let mut address: SocketAddrV6 = format!("[{address}]:0").parse().ok()?;
    address.set_port(port.parse().ok()?);
    Some(address.into())
}
