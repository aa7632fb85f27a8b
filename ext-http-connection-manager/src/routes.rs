//! The routes of a connection manager: those that stand in its configuration, or those that a source has.

use std::sync::Arc;

use underpass_core::build_context::{BuildContext, BuildError};
use underpass_http::{filter::HttpFilterContext, route::RouteTable};

use crate::{config::HttpConnectionManager, route_discovery::DiscoveredRoutes};

/// The routes of a connection manager.
pub(crate) enum Routes {
    /// They never change.
    Fixed(Arc<RouteTable>),
    /// They change while requests come in; a request keeps those that it began with.
    Discovered(Arc<DiscoveredRoutes>),
}

impl Routes {
    pub(crate) fn build(
        config: &HttpConnectionManager,
        stat_prefix: &str,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        if let Some(rds) = &config.rds {
            return DiscoveredRoutes::of(rds, stat_prefix, context).map(Self::Discovered);
        }
        let filter_context = HttpFilterContext { build: context, name: "", stat_prefix };
        let path = context.path().field("route_config");
        RouteTable::build(&config.route_config, &path, &filter_context).map(Self::Fixed)
    }

    /// Those of a request that begins now.
    pub(crate) fn current(&self) -> Arc<RouteTable> {
        match self {
            Self::Fixed(table) => Arc::clone(table),
            Self::Discovered(routes) => routes.current(),
        }
    }
}
