//! The configuration (`envoy/extensions/filters/network/connection_limit/v3/connection_limit.proto`).

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{NonEmptyString, RuntimeFeatureFlag},
    extension,
    network_filter::{NetworkFilter, NetworkFilterConfig},
};

use crate::filter::{ConnectionLimitFilter, ConnectionLimitStats};

/// `envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit`.
#[derive(Debug, Deserialize)]
pub struct ConnectionLimit {
    /// The middle of the stats' names.
    pub stat_prefix: NonEmptyString,
    /// How many connections may be open; at least 1.
    pub max_connections: u64,
    /// How long a connection that is turned away stays open; it is closed at once unless set.
    #[serde(default)]
    pub delay: Option<Duration>,
    /// A runtime key that switches the filter off.
    #[serde(default)]
    pub runtime_enabled: Option<RuntimeFeatureFlag>,
}

/// Turns connections away while too many are open.
#[extension(
    name = "envoy.filters.network.connection_limit",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
)]
impl NetworkFilterConfig for ConnectionLimit {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        let scope = context.server.stats.scope(&format!("connection_limit.{}", self.stat_prefix));
        Ok(Arc::new(ConnectionLimitFilter {
            max_connections: self.max_connections,
            delay: self.delay.unwrap_or_default(),
            enabled: self.runtime_enabled.clone(),
            open: AtomicU64::new(0),
            stats: ConnectionLimitStats::new(&scope),
        }))
    }
}
