//! `envoy.transport_sockets.raw_buffer`: the transport socket that adds nothing; bytes go as they are.
//!
//! It is what a listener and a cluster use that name no transport socket, and what other transport sockets wrap when there
//! is nothing below them. The stream is handed back as it came, so that it may still be spliced or fused.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto>

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    client_connection::ConnectContext,
    connection::BoxFuture,
    extension,
    io::BoxIo,
    stream_info::SharedStreamInfo,
    transport_socket::{
        DownstreamTransportSocket, DownstreamTransportSocketConfig, TransportError, UpstreamTransportSocket,
        UpstreamTransportSocketConfig,
    },
};

/// `envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer`; it has no fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawBuffer {}

/// Adds nothing to the bytes.
#[extension(
    name = "envoy.transport_sockets.raw_buffer",
    type_url = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)]
impl UpstreamTransportSocketConfig for RawBuffer {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn UpstreamTransportSocket>, BuildError> {
        Ok(Arc::new(AsItIs))
    }
}

/// Adds nothing to the bytes.
#[extension(
    name = "envoy.transport_sockets.raw_buffer",
    type_url = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)]
impl DownstreamTransportSocketConfig for RawBuffer {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn DownstreamTransportSocket>, BuildError> {
        Ok(Arc::new(AsItIs))
    }
}

struct AsItIs;

impl UpstreamTransportSocket for AsItIs {
    fn wrap<'a>(
        &'a self,
        io: BoxIo,
        _: &'a ConnectContext<'a>,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>> {
        Box::pin(std::future::ready(Ok(io)))
    }
}

impl DownstreamTransportSocket for AsItIs {
    fn accept<'a>(
        &'a self,
        io: BoxIo,
        _: &'a SharedStreamInfo,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>> {
        Box::pin(std::future::ready(Ok(io)))
    }
}

#[cfg(test)]
mod tests {
    use underpass_core::{
        address::Address,
        client_connection::ConnectContext,
        cluster::{ClusterInfo, Host},
        stream_info::Passthrough,
        testing::{self, TestServer},
        user_space_socket::{PairOptions, pair},
    };

    use super::*;

    const RAW_BUFFER: &str =
        "'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

    #[tokio::test(flavor = "current_thread")]
    async fn the_stream_stays_what_it_was_on_both_sides() {
        let server = TestServer::default();
        let worker = server.worker();
        let address = Address::internal("inner", "");
        let (client, accepted) = pair(PairOptions::new(address.clone()));

        let config = testing::read::<dyn UpstreamTransportSocketConfig>(RAW_BUFFER).unwrap();
        let upstream = server.build("", |context| config.build(context)).unwrap();
        let context = ConnectContext {
            worker: &worker,
            cluster: &Arc::new(ClusterInfo::new("up", &server.context.stats)),
            host: &Arc::new(Host::new(1, address.clone())),
            address: &address,
            downstream: None,
            passthrough: Passthrough::default(),
            reads_at_once: false,
        };
        let mut wrapped = upstream.wrap(Box::new(client), &context).await.unwrap();
        assert!(wrapped.user_space_socket().is_some(), "a wrapper would prevent fusion");

        let config = testing::read::<dyn DownstreamTransportSocketConfig>(RAW_BUFFER).unwrap();
        let downstream = server.build("", |context| config.build(context)).unwrap();
        let connection = server.connection(&worker, Box::new(accepted), Address::internal_client(), address);
        let mut wrapped = downstream.accept(connection.io, &connection.info).await.unwrap();
        assert!(wrapped.user_space_socket().is_some());
        assert!(!upstream.is_secure());
    }
}
