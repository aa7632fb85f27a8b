//! Which cluster a connection goes to, and which of its hosts will do.

use std::{collections::BTreeMap, sync::Arc};

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{Metadata, Value, required_one_of},
    stream_info::StreamInfo,
};

use crate::{config::TcpProxy, overrides::PerConnectionCluster};

/// The namespace of what concerns load balancing.
const LOAD_BALANCING: &str = "envoy.lb";

/// What a host's `envoy.lb` metadata must hold.
type MetadataMatch = Arc<BTreeMap<String, Value>>;

/// A cluster, and a choice among its hosts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub(crate) cluster: Arc<str>,
    pub(crate) metadata_match: Option<MetadataMatch>,
}

/// The routes of one filter.
#[derive(Debug)]
pub(crate) enum Routes {
    One(Route),
    Weighted {
        /// Each with the sum of its weight and those before it.
        routes: Vec<(u64, Route)>,
        total: u64,
    },
}

impl Routes {
    pub(crate) fn build(config: &TcpProxy, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let members = [
            ("cluster", config.cluster.is_some()),
            ("weighted_clusters", config.weighted_clusters.is_some()),
        ];
        required_one_of("cluster_specifier", &members).map_err(BuildError::new)?;
        let common = config.metadata_match.as_ref().and_then(load_balancing);
        if let Some(cluster) = &config.cluster {
            let metadata_match = common.map(|values| Arc::new(values.clone()));
            return Ok(Self::One(Route { cluster: cluster.as_str().into(), metadata_match }));
        }
        let mut total = 0;
        let mut routes = Vec::new();
        for entry in config.weighted_clusters.iter().flat_map(|weighted| &weighted.clusters) {
            total += u64::from(entry.weight);
            let own = entry.metadata_match.as_ref().and_then(load_balancing);
            let metadata_match = merged(common, own).map(Arc::new);
            routes.push((total, Route { cluster: entry.name.as_str().into(), metadata_match }));
        }
        if total == 0 {
            // The reader refuses that in a file, by Envoy's rules; a config may also be made by a program.
            return Err(context.error_at("weighted_clusters", "the sum of all weights must not be zero"));
        }
        Ok(Self::Weighted { routes, total })
    }

    /// The route for the next attempt of this connection.
    pub(crate) fn pick(&self, info: &StreamInfo) -> Route {
        let route = match self {
            Self::One(route) => {
                match info.filter_state.borrow().get_as::<PerConnectionCluster>(PerConnectionCluster::KEY) {
                    Some(cluster) => Route { cluster: Arc::clone(&cluster.0), ..route.clone() },
                    None => route.clone(),
                }
            }
            // As in Envoy, a cluster in the filter state has no say here.
            Self::Weighted { routes, total } => weighted(routes, fastrand::u64(..*total)),
        };
        match info.dynamic_metadata.borrow().namespace(LOAD_BALANCING) {
            None => route,
            Some(dynamic) => Route {
                metadata_match: merged(route.metadata_match.as_deref(), Some(&dynamic.0)).map(Arc::new),
                ..route
            },
        }
    }
}

/// The route that the number falls to; it is below the sum of all weights.
fn weighted(routes: &[(u64, Route)], number: u64) -> Route {
    let at = routes.partition_point(|(sum, _)| *sum <= number);
    routes[at.min(routes.len() - 1)].1.clone()
}

fn load_balancing(metadata: &Metadata) -> Option<&BTreeMap<String, Value>> {
    metadata.namespace(LOAD_BALANCING).map(|values| &values.0)
}

/// Both together; where they differ, `over` counts.
fn merged(
    under: Option<&BTreeMap<String, Value>>,
    over: Option<&BTreeMap<String, Value>>,
) -> Option<BTreeMap<String, Value>> {
    let mut values = under.or(over)?.clone();
    values.extend(over.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    Some(values)
}
