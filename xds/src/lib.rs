//! Configuration from control planes: the xDS client.
//!
//! It speaks the state-of-the-world and the delta form of the xDS transport protocol over gRPC, aggregated (ADS) or one stream
//! for each subscription. What control planes send becomes the same trees as what stands in files.
//!
//! - [`mux`] is the protocol: subscriptions, versions, nonces, times to live, ACK and NACK; no I/O.
//! - [`proto`] has the few messages it is made of.
//! - `stream` drives it over `grpc`, on the main thread; `source` is where subscriptions come in.
//!
//! The crate registers itself as a source of configuration (`api_config_source`, `ads`) and as a service of the main thread; to
//! link it is all there is to do.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

mod backoff;
mod config;
mod control_plane;
mod grpc;
pub mod mux;
mod node;
pub mod proto;
mod rate_limit;
mod resource_type;
mod service;
mod source;
mod stream;

pub use self::resource_type::Protocol;
