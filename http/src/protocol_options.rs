//! Options of the HTTP protocols: of the connections that a connection manager accepts, and of those to a cluster.
//!
//! The messages are here as they stand in a configuration ([`CommonHttpProtocolOptions`], [`Http1ProtocolOptions`],
//! [`Http2ProtocolOptions`]), and beside each of them what it comes to, with Envoy's defaults ([`CommonSettings`],
//! [`Http1Settings`], [`Http2Settings`]). A cluster has all of them, and says which protocol is spoken to it
//! ([`ClusterProtocolOptions`]).
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/upstreams/http/v3/http_protocol_options.proto>

mod cluster;
mod common;
mod http1;
mod http2;

pub use self::{
    cluster::{
        AutoHttpConfig, ClusterProtocolOptions, ExplicitHttpConfig, HttpProtocolOptions, UpstreamHttpFilter,
        UpstreamHttpProtocolOptions, UpstreamProtocol, UseDownstreamHttpConfig,
    },
    common::{CommonHttpProtocolOptions, CommonSettings, HeadersWithUnderscoresAction},
    http1::{HeaderKeyFormat, Http1ProtocolOptions, Http1Settings, ProperCaseWords},
    http2::{Http2ProtocolOptions, Http2Settings, Keepalive, KeepaliveSettings, SettingsParameter},
};
