//! `envoy.transport_sockets.internal_upstream`: hands metadata and filter state to the internal listener behind a
//! connection.
//!
//! It stands on a cluster whose endpoints are internal addresses, and wraps the transport socket that treats the bytes.
//! Before a connection is opened it collects
//!
//! - the metadata named in `passthrough_metadata`, which becomes dynamic metadata of the connection behind the hop,
//! - all filter state that is shared with upstream (`ONCE`, `TRANSITIVE`), which becomes filter state there.
//!
//! ```yaml
//! transport_socket:
//!   name: envoy.transport_sockets.internal_upstream
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
//!     passthrough_metadata:
//!     - {name: tunnel, kind: {host: {}}}
//!     transport_socket:
//!       name: envoy.transport_sockets.raw_buffer
//!       typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}
//! ```
//!
//! Metadata that is not there is counted, `cluster.<name>.internal_upstream.no_metadata`, and the connection is opened all
//! the same. Over a kernel socket nothing can be handed over; the counter counts there as well, as Envoy's does.
//!
//! Streams whose shared filter state differs in a hashable object do not share a pooled connection
//! ([`extend_pool_key`](underpass_core::transport_socket::UpstreamTransportSocket::extend_pool_key)).
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/other_features/internal_listener>

mod config;
mod transport;

pub use self::config::{InternalUpstreamTransport, MetadataKind, MetadataValueSource, NoOptions};
