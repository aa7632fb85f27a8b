//! Tunnels: the bytes of a connection travel in an HTTP request to a host of the cluster, which is a proxy.
//!
//! The request is a CONNECT, or a POST where proxies on the way would not let a CONNECT pass; over HTTP/1.1 or HTTP/2, as the
//! cluster's `HttpProtocolOptions` say. HTTP/2 streams share a connection up to its limits; an HTTP/1.1 connection carries one
//! tunnel and ends with it. Nothing of the client's bytes leaves before the proxy has answered with success.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/upgrades#tunneling-tcp-over-http>

mod config;
mod propagation;
mod request;
mod request_id;
mod tunnel;
mod whole_close;

pub use self::config::TunnelingConfig;
pub(crate) use self::{
    tunnel::{ResponseTrailers, Tunnel},
    whole_close::ForClient,
};
