//! Several clusters, of which each request gets one.

use std::sync::Arc;

use underpass_core::{
    build_context::BuildError, config::ConfigPath, runtime::Runtime, stream_info::StreamInfo,
};

use super::{
    Action, Forward, HashPolicy, Route,
    build::{RouteBase, merged, readable},
    config::{ClusterWeight, WeightedCluster},
    forward::{ClusterSource, literal_host},
    headers::HeaderLevel,
};
use crate::{RequestHead, filter::HttpFilterContext};

/// Clusters with their weights, each as a route of its own.
pub(super) struct WeightedRoutes {
    routes: Vec<WeightedRoute>,
    chooser: Chooser,
    /// Where weights can be overridden.
    runtime: Option<Arc<Runtime>>,
}

struct WeightedRoute {
    weight: u64,
    /// The runtime key of its weight.
    runtime_key: String,
    route: Arc<Route>,
}

/// Where the number comes from that picks a cluster.
enum Chooser {
    Chance,
    /// A header, or chance if it has no number.
    Header(Box<str>),
    /// The hash of the request, or chance if it has none.
    Hash(Arc<HashPolicy>),
}

impl WeightedRoutes {
    /// `forward` builds the action that all clusters share.
    pub(super) fn build(
        config: &WeightedCluster,
        base: &RouteBase<'_>,
        forward: &dyn Fn(ClusterSource) -> Result<Forward, BuildError>,
        path: &ConfigPath,
        context: &HttpFilterContext<'_>,
    ) -> Result<Self, BuildError> {
        let mut routes = Vec::new();
        let mut hash_policy = None;
        for (index, cluster) in config.clusters.iter().enumerate() {
            let path = path.field("clusters").index(index);
            let mut forward = forward(source(cluster, &path)?)?;
            forward.cluster_host_rewrite =
                literal_host(cluster.host_rewrite_literal.as_deref(), &path.field("host_rewrite_literal"))?;
            forward.metadata_match = merged(forward.metadata_match, cluster.metadata_match.as_ref());
            hash_policy.clone_from(&forward.hash_policy);
            let Some(weight) = cluster.weight else {
                return Err(BuildError::at(path.field("weight"), "weight must be set"));
            };
            let base = RouteBase {
                filters: base.filters.and(&cluster.typed_per_filter_config, &path, context)?,
                headers: base.headers.after(&HeaderLevel::build(cluster, &path)?),
                ..base.clone()
            };
            routes.push(WeightedRoute {
                weight: weight.into(),
                runtime_key: format!("{}.{}", config.runtime_key_prefix, cluster.name),
                route: base.finish(Action::Forward(Box::new(forward))),
            });
        }
        check_sum(routes.iter().map(|route| route.weight).sum(), path)?;
        let has_runtime = !config.runtime_key_prefix.is_empty();
        Ok(Self {
            routes,
            chooser: match (&config.header_name, hash_policy) {
                (Some(name), _) if !name.is_empty() => {
                    Chooser::Header(readable(name, &path.field("header_name"))?)
                }
                (_, Some(policy)) if config.use_hash_policy == Some(true) => Chooser::Hash(policy),
                _ => Chooser::Chance,
            },
            runtime: has_runtime.then(|| Arc::clone(&context.build.server.runtime)),
        })
    }

    /// The route of a request; none if the runtime took away all weights.
    pub(super) fn pick(&self, head: &RequestHead, info: &StreamInfo, random: u64) -> Option<Arc<Route>> {
        let snapshot = self.runtime.as_ref().map(|runtime| runtime.snapshot());
        let weight = |route: &WeightedRoute| {
            snapshot.as_ref().map_or(route.weight, |keys| keys.integer(&route.runtime_key, route.weight))
        };
        let total = self.routes.iter().map(weight).fold(0, u64::saturating_add);
        let number = self.chooser.number(head, info).unwrap_or(random).checked_rem(total)?;
        let mut sum: u64 = 0;
        let picked = self.routes.iter().find(|route| {
            sum = sum.saturating_add(weight(route));
            number < sum
        });
        picked.map(|picked| Arc::clone(&picked.route))
    }
}

impl Chooser {
    fn number(&self, head: &RequestHead, info: &StreamInfo) -> Option<u64> {
        match self {
            Self::Chance => None,
            Self::Header(name) => head.get(name)?.parse().ok(),
            Self::Hash(policy) => policy.hash(head, info, info, |_| {}),
        }
    }
}

fn source(cluster: &ClusterWeight, path: &ConfigPath) -> Result<ClusterSource, BuildError> {
    match (cluster.name.as_str(), cluster.cluster_header.as_str()) {
        ("", "") => {
            Err(BuildError::at(path.clone(), "At least one of name or cluster_header need to be specified"))
        }
        ("", header) => Ok(ClusterSource::Header(readable(header, &path.field("cluster_header"))?)),
        (name, "") => Ok(ClusterSource::Name(name.into())),
        _ => Err(BuildError::at(path.clone(), "Only one of name or cluster_header can be specified")),
    }
}

fn check_sum(sum: u64, path: &ConfigPath) -> Result<(), BuildError> {
    let message = match sum {
        0 => "Sum of weights in the weighted_cluster must be greater than 0.".to_owned(),
        _ if u32::try_from(sum).is_err() => {
            format!("The sum of weights of all weighted clusters is {sum}, which exceeds {}", u32::MAX)
        }
        _ => return Ok(()),
    };
    Err(BuildError::at(path.field("clusters"), message))
}
