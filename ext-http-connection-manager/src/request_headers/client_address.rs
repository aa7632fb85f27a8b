//! Who the client is: the peer of the connection, or whom the proxies in front of this one name in `x-forwarded-for`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-for>

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use underpass_core::address::Address;
use underpass_http::inline_headers::{self, Side};

use super::{X_FORWARDED_FOR, local_address::local_address};
use crate::config::HttpConnectionManager;

/// How the client is found.
pub(super) struct ClientAddress {
    /// Whether it is the peer of the connection.
    pub(super) use_remote_address: bool,
    /// How many proxies in front of this one are trusted.
    pub(super) trusted_hops: usize,
    /// Whether the peer is added to the header.
    append: bool,
    /// What is added for a peer on this host.
    local_address: HeaderValue,
}

/// A client that was found.
pub(super) struct Found {
    /// Who it is; none if only the connection tells.
    pub(super) address: Option<Address>,
    /// Whether the address alone decides that the request is from inside: nobody else has passed it on.
    pub(super) may_be_internal: bool,
}

impl ClientAddress {
    pub(super) fn new(config: &HttpConnectionManager) -> Self {
        let use_remote_address = config.use_remote_address.unwrap_or(false);
        Self {
            use_remote_address,
            trusted_hops: config.xff_num_trusted_hops as usize,
            append: use_remote_address && !config.skip_xff_append,
            local_address: ip_text(local_address()),
        }
    }

    #[cfg(test)]
    pub(super) fn with_local_address(self, address: &'static str) -> Self {
        Self { local_address: HeaderValue::from_static(address), ..self }
    }

    /// Finds the client, and adds the peer to the header where that is wanted.
    pub(super) fn find(&self, headers: &mut HeaderMap, peer: &Address) -> Found {
        let forwarded_for = headers.get(X_FORWARDED_FOR);
        if !self.use_remote_address {
            return last_of(forwarded_for, self.trusted_hops);
        }
        let may_be_internal = forwarded_for.is_none();
        let named = match self.trusted_hops {
            0 => None,
            hops => last_of(forwarded_for, hops - 1).address,
        };
        if self.append
            && let Address::Socket(peer) = peer
        {
            let value = if is_loopback(peer.ip()) { self.local_address.clone() } else { ip_text(peer.ip()) };
            inline_headers::append(Side::Request, headers, &X_FORWARDED_FOR, value);
        }
        Found { address: Some(named.unwrap_or_else(|| peer.clone())), may_be_internal }
    }
}

/// The last address in the header but `skip`.
fn last_of(header: Option<&HeaderValue>, skip: usize) -> Found {
    let address = header.and_then(|value| value.to_str().ok()).and_then(|text| {
        let mut rest = text;
        for _ in 0..skip {
            (rest, _) = rest.rsplit_once(',')?;
        }
        let last = match rest.rsplit_once(',') {
            // As in Envoy, an empty end is no end.
            Some((_, last)) if !last.is_empty() => last,
            _ => rest,
        };
        Some((last.trim().parse::<IpAddr>().ok()?, !rest.contains(',') && skip == 0))
    });
    match address {
        Some((ip, only_one)) => {
            Found { address: Some(Address::Socket(SocketAddr::new(ip, 0))), may_be_internal: only_one }
        }
        None => Found { address: None, may_be_internal: false },
    }
}

/// The two addresses that Envoy compares with.
fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip == std::net::Ipv4Addr::LOCALHOST,
        IpAddr::V6(ip) => ip == std::net::Ipv6Addr::LOCALHOST,
    }
}

/// The IP address as the value of a header.
pub(super) fn text(address: &Address) -> Option<HeaderValue> {
    match address {
        Address::Socket(address) => Some(ip_text(address.ip())),
        _ => None,
    }
}

fn ip_text(ip: IpAddr) -> HeaderValue {
    // An address has no character that a header may not have.
    HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static(""))
}
