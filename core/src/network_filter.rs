//! Network filters: what a connection passes through after its filter chain was chosen.
//!
//! A chain ends in exactly one terminal filter, which is checked when the configuration is loaded.

use std::{fmt, sync::Arc};

use crate::{
    build_context::{BuildContext, BuildError},
    connection::{BoxFuture, Connection, ConnectionError},
    extension::Category,
    stream_info::StreamInfo,
};

/// The configuration of a network filter.
#[typetag::deserialize(tag = "@type")]
pub trait NetworkFilterConfig: fmt::Debug + Send + Sync {
    /// Whether the filter ends the chain: it serves the connection itself and never calls `next`.
    fn is_terminal(&self) -> bool {
        false
    }

    /// The clusters it names, so that a missing one and a cycle of internal hops are reported at load.
    fn cluster_references(&self) -> Vec<ClusterReference> {
        Vec::new()
    }

    /// Builds the filter, once per version of the configuration.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError>;
}

/// A cluster that a filter's configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterReference {
    /// Where in the filter's configuration the name stands: `cluster`, `weighted_clusters.clusters[0].name`.
    pub field: String,
    /// The cluster's name.
    pub cluster: String,
    /// What is said of a configuration where it is not there; without, such a configuration runs, with a warning.
    pub refusal: Option<String>,
}

impl ClusterReference {
    /// A cluster that need not be there at once.
    pub fn optional(field: impl Into<String>, cluster: impl Into<String>) -> Self {
        Self { field: field.into(), cluster: cluster.into(), refusal: None }
    }
}

impl Category for dyn NetworkFilterConfig {
    const NAME: &'static str = "network filter";
}

/// A network filter, shared by all workers and connections.
pub trait NetworkFilter: Send + Sync {
    /// Serves a connection until it is done. A filter that is not terminal passes it on with `next.run(connection)`.
    ///
    /// The future may be dropped at any await (drain, shutdown): what has to happen at the end belongs in a guard.
    fn serve<'a>(
        &'a self,
        connection: Connection,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>>;

    /// A filter before this one turned a connection away. In Envoy, all filters of a connection exist before the first of
    /// them looks at it; what they count or log for each connection is done here.
    fn turned_away(&self, _info: &StreamInfo) {}
}

/// The rest of a filter chain.
pub struct Next<'a> {
    rest: &'a [Arc<dyn NetworkFilter>],
}

impl<'a> Next<'a> {
    /// The start of a chain; for the engine and for tests of filters.
    pub fn new(chain: &'a [Arc<dyn NetworkFilter>]) -> Self {
        Self { rest: chain }
    }

    /// Hands the connection to the rest of the chain. A chain without a terminal filter just closes it.
    pub fn run(self, connection: Connection) -> BoxFuture<'a, Result<(), ConnectionError>> {
        match self.rest.split_first() {
            Some((filter, rest)) => filter.serve(connection, Next { rest }),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }

    /// Tells the rest of the chain that it will not see this connection.
    pub fn turned_away(self, info: &StreamInfo) {
        self.rest.iter().for_each(|filter| filter.turned_away(info));
    }
}
