//! Transport sockets: they wrap the bytes of a connection, for example with TLS.

use std::{fmt, sync::Arc};

use crate::{
    build_context::{BuildContext, BuildError},
    client_connection::ConnectContext,
    connection::BoxFuture,
    extension::Category,
    filter_state::FilterState,
    io::BoxIo,
    stream_info::SharedStreamInfo,
};

/// The configuration of a transport socket towards upstream hosts.
#[typetag::deserialize(tag = "@type")]
pub trait UpstreamTransportSocketConfig: fmt::Debug + Send + Sync {
    /// Builds the transport socket, once per version of the configuration.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn UpstreamTransportSocket>, BuildError>;
}

impl Category for dyn UpstreamTransportSocketConfig {
    const NAME: &'static str = "upstream transport socket";
}

/// The configuration of a transport socket towards clients.
#[typetag::deserialize(tag = "@type")]
pub trait DownstreamTransportSocketConfig: fmt::Debug + Send + Sync {
    /// Builds the transport socket, once per version of the configuration.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn DownstreamTransportSocket>, BuildError>;
}

impl Category for dyn DownstreamTransportSocketConfig {
    const NAME: &'static str = "downstream transport socket";
}

/// Why a transport socket could not be set up; becomes `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// A transport socket towards upstream hosts, shared by all workers.
pub trait UpstreamTransportSocket: Send + Sync {
    /// Runs before connecting: a place to fill `context.passthrough`, which a user-space socket hands over.
    fn prepare(&self, _context: &mut ConnectContext<'_>) {}

    /// Wraps a connected socket; returns it as it is where there is nothing to add.
    fn wrap<'a>(
        &'a self,
        io: BoxIo,
        context: &'a ConnectContext<'a>,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>>;

    /// What keeps pooled connections apart: bytes that differ where one connection must not serve both streams.
    fn extend_pool_key(&self, _downstream: &FilterState, _key: &mut Vec<u8>) {}

    /// Whether the wire is encrypted.
    fn is_secure(&self) -> bool {
        false
    }
}

/// A transport socket towards clients, shared by all workers.
pub trait DownstreamTransportSocket: Send + Sync {
    /// Wraps an accepted socket and notes what it learned (server name, protocol) in `info`.
    fn accept<'a>(
        &'a self,
        io: BoxIo,
        info: &'a SharedStreamInfo,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>>;
}
