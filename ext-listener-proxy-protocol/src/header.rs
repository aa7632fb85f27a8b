//! Finds the header at the beginning of a stream, of either version or of none.

use std::net::{IpAddr, SocketAddr};

use underpass_core::proxy_protocol::Tlv;

use crate::{config::Version, v1, v2};

/// Which headers a connection may begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) v1: bool,
    pub(crate) v2: bool,
    /// Whether it may begin with something else.
    pub(crate) without: bool,
}

/// What is known of the beginning of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// Nothing yet: more bytes are needed, up to this many from the start.
    Incomplete(usize),
    /// There is no header, and that is allowed.
    Allowed,
    /// There is no header.
    NotFound,
    /// There is one of a version that is not wanted.
    Disallowed(Version),
    /// There is one, and something is wrong in it.
    Malformed(Version, &'static str),
    /// There is one.
    Header(Header),
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: Version,
    /// How many bytes it has.
    pub(crate) length: usize,
    /// What it says of the connection; nothing for `UNKNOWN` and `LOCAL`.
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) tlvs: Vec<Tlv>,
}

/// Who a connection is from, and where it was meant to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

impl Endpoints {
    /// Both have to be addresses that a connection can have.
    pub(crate) fn checked(self) -> Result<Self, &'static str> {
        let fits = is_unicast(self.source.ip()) && is_unicast(self.destination.ip());
        if fits { Ok(self) } else { Err("an address is no unicast address") }
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// How many bytes are asked for while the version is unknown: the fixed parts of version 2, with the longest addresses.
const FIRST_READ: usize = v2::FIXED + 216;

/// Looks at the beginning of a stream. The order of the decisions is that of Envoy's `proxy_protocol.cc`, so that its
/// counters count the same.
pub(crate) fn find(bytes: &[u8], accepted: Accepted) -> Beginning {
    if accepted.without {
        let may_be_v1 = accepted.v1 && may_start_with(bytes, v1::SIGNATURE);
        let may_be_v2 = accepted.v2 && may_start_with(bytes, v2::SIGNATURE);
        if !may_be_v1 && !may_be_v2 {
            return Beginning::Allowed;
        }
    }
    if let Some((fixed, rest)) = bytes.split_first_chunk::<{ v2::FIXED }>() {
        if fixed.starts_with(v2::SIGNATURE) {
            return if accepted.v2 { v2::parse(*fixed, rest) } else { Beginning::Disallowed(Version::V2) };
        }
        if !fixed.starts_with(v1::SIGNATURE) {
            return Beginning::NotFound;
        }
    }
    match v1::find_line(bytes) {
        Ok(Some(_)) if !accepted.v1 => Beginning::Disallowed(Version::V1),
        Ok(Some(line)) => v1::parse(line),
        Ok(None) => Beginning::Incomplete(FIRST_READ),
        Err(beginning) => beginning,
    }
}

/// Whether the stream can still turn out to start with the signature.
fn may_start_with(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}
