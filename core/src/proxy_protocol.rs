//! What a PROXY protocol header said, kept as filter state for those who pass it on.
//!
//! The listener filter that reads such headers leaves a [`ProxyHeader`] on the connection; the transport socket that writes
//! them upstream takes addresses and TLVs from there. <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

mod encode;

pub use self::encode::{Endpoints, Subject, v1, v2};

use std::any::Any;

use bytes::Bytes;

use crate::{address::Address, filter_state::FilterStateObject};

/// The name under which Envoy keeps it, too.
pub const FILTER_STATE_KEY: &str = "envoy.network.proxy_protocol_options";

/// Addresses and TLVs for PROXY protocol headers upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Who the connection is from.
    pub source: Address,
    /// Where it was meant to go.
    pub destination: Address,
    /// What else is known of it, in the order of the header.
    pub tlvs: Vec<Tlv>,
}

/// A type, a length and a value, as version 2 of the protocol has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlv {
    /// The type.
    pub kind: u8,
    /// The value; at most 65,535 bytes fit.
    pub value: Bytes,
}

impl FilterStateObject for ProxyHeader {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
