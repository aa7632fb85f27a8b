//! What happens on each connection.

use std::sync::Arc;

use underpass_core::{
    client_connection::ConnectContext,
    config::Struct,
    connection::BoxFuture,
    filter_state::FilterState,
    io::BoxIo,
    stats::Counter,
    transport_socket::{TransportError, UpstreamTransportSocket},
};

use crate::config::{MetadataKind, MetadataValueSource};

/// The transport socket around another one.
pub(crate) struct InternalUpstream {
    pub(crate) inner: Arc<dyn UpstreamTransportSocket>,
    pub(crate) sources: Vec<MetadataValueSource>,
    /// Created with the cluster, so that it can be seen at zero.
    pub(crate) no_metadata: Counter,
}

impl UpstreamTransportSocket for InternalUpstream {
    fn prepare(&self, context: &mut ConnectContext<'_>) {
        for source in &self.sources {
            match find(source, context) {
                Some(values) => context.passthrough.metadata.set(source.name.as_str(), values),
                None => self.no_metadata.inc(),
            }
        }
        if let Some(downstream) = context.downstream {
            let shared = downstream.filter_state.borrow().shared_with_upstream();
            context.passthrough.filter_state.merge(shared);
        }
        self.inner.prepare(context);
    }

    fn wrap<'a>(
        &'a self,
        io: BoxIo,
        context: &'a ConnectContext<'a>,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>> {
        self.inner.wrap(io, context)
    }

    fn extend_pool_key(&self, downstream: &FilterState, key: &mut Vec<u8>) {
        for (name, hash) in downstream.pool_hashes() {
            // The length keeps names apart that are the start of one another.
            key.extend((name.len() as u64).to_le_bytes());
            key.extend(name.as_bytes());
            key.extend(hash.to_le_bytes());
        }
        self.inner.extend_pool_key(downstream, key);
    }

    fn is_secure(&self) -> bool {
        self.inner.is_secure()
    }
}

fn find(source: &MetadataValueSource, context: &ConnectContext<'_>) -> Option<Struct> {
    let name = source.name.as_str();
    match source.kind {
        MetadataKind::Host(_) => context.host.metadata.namespace(name).cloned(),
        MetadataKind::Cluster(_) => context.cluster.metadata.namespace(name).cloned(),
        MetadataKind::Request(_) => context.downstream?.dynamic_metadata.borrow().namespace(name).cloned(),
        // Only HTTP requests have a route; of requests that share a connection, that of the first one counts.
        MetadataKind::Route(_) => {
            context.downstream?.details.route_metadata.borrow().as_ref()?.namespace(name).cloned()
        }
    }
}

#[cfg(test)]
mod tests;
