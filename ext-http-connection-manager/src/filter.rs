//! The filter: where connections arrive.

use std::{rc::Rc, sync::Arc};

use underpass_core::{
    build_context::{BuildContext, BuildError},
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    network_filter::{ClusterReference, NetworkFilter, NetworkFilterConfig, Next},
};
use underpass_http::downstream;

use crate::{
    config::HttpConnectionManager,
    connection::{Handler, ManagedConnection},
    settings::Settings,
};

/// Serves HTTP on connections.
#[extension(
    name = "envoy.filters.network.http_connection_manager",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)]
impl NetworkFilterConfig for HttpConnectionManager {
    fn is_terminal(&self) -> bool {
        true
    }

    fn cluster_references(&self) -> Vec<ClusterReference> {
        self.route_config.cluster_references("route_config")
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(ConnectionManagerFilter::new(Settings::build(self, context)?)))
    }
}

/// One connection manager of a filter chain, shared by all workers.
pub(crate) struct ConnectionManagerFilter {
    settings: Arc<Settings>,
}

impl ConnectionManagerFilter {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }
}

impl NetworkFilter for ConnectionManagerFilter {
    fn serve<'a>(
        &'a self,
        connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        let Connection { io, info, worker, drain, buffer_limit } = connection;
        let managed =
            Handler(Rc::new(ManagedConnection::new(&self.settings, info, worker, drain, buffer_limit)));
        Box::pin(async move {
            downstream::serve(io, &self.settings.codec, &managed).await;
            Ok(())
        })
    }
}
