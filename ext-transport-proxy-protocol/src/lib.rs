//! `envoy.transport_sockets.upstream_proxy_protocol`: tells the upstream who the client is, in a PROXY protocol header.
//!
//! An upstream sees a connection of this proxy, not of the client. This transport socket sends the client's addresses in
//! front of everything else, to an upstream that expects such a header; another transport socket treats the rest:
//!
//! ```yaml
//! transport_socket:
//!   name: envoy.transport_sockets.upstream_proxy_protocol
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
//!     config: {version: V2}
//!     transport_socket:
//!       name: envoy.transport_sockets.raw_buffer
//!       typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}
//! ```
//!
//! # Which addresses
//! 1. Those that a `proxy_protocol` listener filter found in a header of the client's, with the TLVs that both sides pass through;
//! 2. else, for a TCP stream, those of the downstream connection, as listener filters left them;
//! 3. else (an HTTP request, whose upstream connection serves several clients; a health check) version 1 names the two
//!    ends of the upstream connection, and version 2 says `LOCAL`.
//!
//! A stream that has no IP addresses, because it comes out of an internal hop that brought none, gets a header that says
//! so: `PROXY UNKNOWN`, or in version 2 `LOCAL` (with `allow_unspecified_address`: `PROXY` with unspecified
//! addresses). Envoy 1.40 crashes on it in version 1, and sends no header in version 2.
//!
//! Stats: `cluster.<name>.upstream.proxyprotocol.v2_tlvs_exceed_max_length`.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto>

mod config;
mod transport;

pub use self::config::{ProxyProtocolConfig, ProxyProtocolUpstreamTransport, TlvEntry, Version};
