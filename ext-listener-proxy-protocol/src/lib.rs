//! `envoy.filters.listener.proxy_protocol`: takes addresses from the PROXY protocol header that a load balancer sends
//! first.
//!
//! A connection that comes through a load balancer comes *from* the load balancer, as far as the kernel knows. Load balancers
//! that speak the PROXY protocol say in front of everything else who the client is and where it wanted to go. This
//! filter takes that header off the stream and makes what it says the connection's addresses:
//!
//! ```text
//! PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n      version 1, a line of text
//! 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A 21 11 00 0C …    version 2, binary, with room for further values (TLVs)
//! ```
//!
//! - Addresses of the socket itself stay readable (`%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%`).
//! - `UNKNOWN` (version 1) and `LOCAL` (version 2, health checks of the load balancer) change no address.
//! - `rules` put TLVs into dynamic metadata, or with `tlv_location: FILTER_STATE` into filter state
//!   (`envoy.network.proxy_protocol.tlv`); `pass_through_tlvs` keeps them for the header that a
//!   `proxy_protocol` transport socket sends upstream.
//! - A connection without a header is turned away, unless `allow_requests_without_proxy_protocol` is set, which only makes sense
//!   where every client can be trusted: whoever connects can claim any address.
//!
//! # Why the parser is our own
//! Of the crates for this protocol, none gives TLVs as they are on the wire, and the best kept one (`proxy-header`) waits for ever
//! where a `LOCAL` header has no addresses. The tests compare with it.
//!
//! Stats: `proxy_proto.[<stat_prefix>.]*`, and `downstream_cx_proxy_proto_error`, for all listeners together.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listener_filters/proxy_protocol>

mod config;
mod filter;
mod header;
mod stats;
mod tlvs;
mod v1;
mod v2;

pub use self::config::{KeyValuePair, ProxyProtocol, Rule, TlvLocation, ValueStringEncoding, Version};

#[cfg(test)]
mod tests;
