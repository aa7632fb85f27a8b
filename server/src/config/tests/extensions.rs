//! Stand-ins for the extensions that the configurations of these tests name; the real ones live in crates of their own.

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    bootstrap_extension::{BootstrapExtension, BootstrapExtensionConfig},
    build_context::{BuildContext, BuildError},
    extension,
    network_filter::{NetworkFilter, NetworkFilterConfig},
    transport_socket::{UpstreamTransportSocket, UpstreamTransportSocketConfig},
};

fn not_built<T: ?Sized>() -> Result<Arc<T>, BuildError> {
    Err(BuildError::new("these tests only read"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TcpProxy {
    stat_prefix: String,
    cluster: String,
}

/// Stands for the TCP proxy.
#[extension(
    name = "envoy.filters.network.tcp_proxy",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
)]
impl NetworkFilterConfig for TcpProxy {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        not_built()
    }
}

#[derive(Debug, Deserialize)]
struct RawBuffer {}

/// Stands for the plain transport socket.
#[extension(
    name = "envoy.transport_sockets.raw_buffer",
    type_url = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)]
impl UpstreamTransportSocketConfig for RawBuffer {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn UpstreamTransportSocket>, BuildError> {
        not_built()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InternalListener {
    buffer_size_kb: Option<u32>,
}

/// Stands for the registry of internal listeners.
#[extension(
    name = "envoy.bootstrap.internal_listener",
    type_url = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
)]
impl BootstrapExtensionConfig for InternalListener {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn BootstrapExtension>, BuildError> {
        not_built()
    }
}
