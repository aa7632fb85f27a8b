//! Addresses and ranges of them (`envoy/config/core/v3/address.proto`).

use std::net::IpAddr;

use serde::Deserialize;

use crate::config::NonEmptyString;

/// `envoy.config.core.v3.Address`: a message that is no more than a oneof.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// An IP address or a host name, with a port.
    SocketAddress(SocketAddress),
    /// A unix domain socket.
    Pipe(Pipe),
    /// A listener in this process.
    EnvoyInternalAddress(EnvoyInternalAddress),
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SocketAddress {
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// An IP address, or a host name where a resolver is at hand.
    pub address: NonEmptyString,
    /// The port.
    #[serde(default)]
    pub port_value: Option<u16>,
    /// A named port, which only custom resolvers know.
    #[serde(default)]
    pub named_port: Option<String>,
    /// The name of a custom resolver.
    #[serde(default)]
    pub resolver_name: String,
    /// Whether an IPv6 socket also takes IPv4 connections.
    #[serde(default)]
    pub ipv4_compat: bool,
}

/// The transport protocol of a [`SocketAddress`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// `envoy.config.core.v3.Pipe`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pipe {
    /// The path; with a leading `@` a name in Linux's abstract namespace.
    pub path: NonEmptyString,
    /// The permission bits of the socket file; 0 leaves them as they are.
    #[serde(default)]
    pub mode: u32,
}

/// `envoy.config.core.v3.EnvoyInternalAddress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EnvoyInternalAddress {
    /// The name of the internal listener.
    pub server_listener_name: String,
    /// Tells several endpoints of one listener apart.
    pub endpoint_id: String,
}

/// `envoy.config.core.v3.CidrRange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawCidrRange")]
pub struct CidrRange {
    /// The range, its host bits cleared.
    pub net: ipnet::IpNet,
}

#[derive(Deserialize)]
struct RawCidrRange {
    address_prefix: NonEmptyString,
    #[serde(default)]
    prefix_len: Option<u8>,
}

impl CidrRange {
    /// Whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
    }
}

impl TryFrom<RawCidrRange> for CidrRange {
    type Error = String;

    /// As in Envoy, no length is none at all, and one beyond the address's bits counts as all of them.
    fn try_from(raw: RawCidrRange) -> Result<Self, String> {
        let address: IpAddr = raw
            .address_prefix
            .parse()
            .map_err(|_| format!("{:?} is no IP address (address_prefix)", raw.address_prefix.as_str()))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = raw.prefix_len.unwrap_or(0).min(bits);
        let net = ipnet::IpNet::new(address, length).map_err(|error| error.to_string())?;
        Ok(Self { net: net.trunc() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ConfigPath, Reader, parse_yaml},
        extension::ExtensionSet,
    };

    fn range(yaml: &str) -> Result<CidrRange, String> {
        let document = parse_yaml("f", yaml).unwrap();
        let extensions = ExtensionSet::default();
        let reader = Reader::new(&extensions);
        let range = reader.read(&document.root, ConfigPath::root(), "envoy.config.core.v3.CidrRange");
        range.ok_or_else(|| reader.into_report().to_string())
    }

    #[test]
    fn a_range_contains_what_shares_its_prefix() {
        let ten = range("{address_prefix: 10.1.2.3, prefix_len: 8}").unwrap();
        assert!(ten.contains("10.200.0.1".parse().unwrap()) && !ten.contains("11.0.0.1".parse().unwrap()));
        assert_eq!(ten.net.to_string(), "10.0.0.0/8", "host bits do not count");
        assert!(range("{address_prefix: '::'}").unwrap().contains("fe80::1".parse().unwrap()));
        assert_eq!(
            range("{address_prefix: 10.0.0.0, prefix_len: 33}").unwrap().net.prefix_len(),
            32,
            "as Envoy cuts it"
        );
        insta::assert_snapshot!(range("{address_prefix: ten, prefix_len: 8}").unwrap_err(), @r#"f:1:1: error: "ten" is no IP address (address_prefix)"#);
    }
}
