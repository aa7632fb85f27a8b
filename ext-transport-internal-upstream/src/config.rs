//! The configuration (`envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream.proto`).

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{ExtensionConfig, NonEmptyString},
    extension,
    runtime::INTERNAL_UPSTREAM_REQUEST_METADATA,
    transport_socket::{UpstreamTransportSocket, UpstreamTransportSocketConfig},
};

use crate::transport::InternalUpstream;

/// `envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport`.
#[derive(Debug, Deserialize)]
pub struct InternalUpstreamTransport {
    /// Which metadata to hand over. Where two of the same name are present, the latter is handed over.
    #[serde(default)]
    pub passthrough_metadata: Vec<MetadataValueSource>,
    /// The transport socket that treats the bytes.
    pub transport_socket: ExtensionConfig<dyn UpstreamTransportSocketConfig>,
}

/// Where metadata comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MetadataValueSource {
    /// Whose metadata.
    pub kind: MetadataKind,
    /// The namespace, here and behind the hop.
    pub name: NonEmptyString,
}

/// `envoy.type.metadata.v3.MetadataKind`: whose metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataKind {
    /// Dynamic metadata of the stream. An addition to Envoy.
    Request(NoOptions),
    /// Metadata of the route that was chosen. An addition to Envoy.
    Route(NoOptions),
    /// Metadata of the cluster.
    Cluster(NoOptions),
    /// Metadata of the endpoint.
    Host(NoOptions),
}

/// A kind has no options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NoOptions {}

impl MetadataKind {
    fn name(self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Route(_) => "route",
            Self::Cluster(_) => "cluster",
            Self::Host(_) => "host",
        }
    }

    fn is_known_to_envoy(self) -> bool {
        matches!(self, Self::Cluster(_) | Self::Host(_))
    }
}

/// Hands metadata and filter state to the internal listener behind a connection.
#[extension(
    name = "envoy.transport_sockets.internal_upstream",
    type_url = "type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
)]
impl UpstreamTransportSocketConfig for InternalUpstreamTransport {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn UpstreamTransportSocket>, BuildError> {
        let any_kind = context.server.runtime.snapshot().feature(INTERNAL_UPSTREAM_REQUEST_METADATA);
        for (index, source) in self.passthrough_metadata.iter().enumerate() {
            if !any_kind && !source.kind.is_known_to_envoy() {
                let path = context.path().field("passthrough_metadata").index(index).field("kind");
                let kind = source.kind.name();
                let message =
                    format!("metadata type is not supported: {kind} {{}}; Envoy knows host and cluster");
                return Err(BuildError::at(path, message));
            }
        }
        let inner =
            context.build(&self.transport_socket.typed_config, UpstreamTransportSocketConfig::build)?;
        Ok(Arc::new(InternalUpstream {
            inner,
            sources: self.passthrough_metadata.clone(),
            no_metadata: context.scope.counter("internal_upstream.no_metadata"),
        }))
    }
}
