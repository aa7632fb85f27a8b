//! From the messages to the table: checks, defaults, and what levels say together.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Metadata, Value},
};

use super::{
    Action, DirectResponse, FilterConfigs, Forward, Redirect, RetryPolicy, Route, RouteTable, VirtualHost,
    config,
    domains::Domains,
    forward::ClusterSource,
    headers::{HeaderLevel, HeaderLevels},
    matching::RouteMatcher,
    table::{RouteEntry, Target, VirtualHostRoutes},
    weighted::WeightedRoutes,
};
use crate::{filter::HttpFilterContext, response_stats::RouteStats};

/// Envoy's default of `max_direct_response_body_size_bytes`.
const DEFAULT_MAX_BODY: usize = 4096;

/// The namespace of what concerns load balancing.
const LOAD_BALANCING: &str = "envoy.lb";

/// What a host's `envoy.lb` metadata must hold.
pub(super) type MetadataMatch = Arc<BTreeMap<String, Value>>;

impl RouteTable {
    /// Builds a configuration that stands at `path`.
    ///
    /// `context` is for the filters that routes have a word for; its `name` has no meaning here.
    ///
    /// # Errors
    /// What is wrong, and where, where possible in Envoy's words.
    pub fn build(
        config: &config::RouteConfiguration,
        path: &ConfigPath,
        context: &HttpFilterContext<'_>,
    ) -> Result<Arc<Self>, BuildError> {
        let builder = Builder {
            context,
            most_specific_wins: config.most_specific_header_mutations_wins,
            max_body: config
                .max_direct_response_body_size_bytes
                .map_or(DEFAULT_MAX_BODY, |bytes| bytes as usize),
            filters: FilterConfigs::default().and(&config.typed_per_filter_config, path, context)?,
            headers: HeaderLevel::build(config, path)?,
        };
        let mut domains = Domains::default();
        for (index, host) in config.virtual_hosts.iter().enumerate() {
            let path = path.field("virtual_hosts").index(index);
            let routes = Arc::new(builder.virtual_host(host, &path)?);
            for (index, domain) in host.domains.iter().enumerate() {
                domains.add(domain, &routes).map_err(|()| {
                    BuildError::at(path.field("domains").index(index), duplicate(domain, &config.name))
                })?;
            }
        }
        let internal_only = config.internal_only_headers.iter().enumerate();
        let internal_only = internal_only
            .map(|(index, name)| header_name(name, &path.field("internal_only_headers").index(index)));
        Ok(Arc::new(Self {
            name: config.name.as_str().into(),
            domains,
            host_header: Some(config.vhost_header.to_ascii_lowercase()).filter(|name| !name.is_empty()),
            ignore_port: config.ignore_port_in_host_matching,
            ignore_path_parameters: config.ignore_path_parameters_in_path_matching,
            internal_only_headers: internal_only.collect::<Result<_, _>>()?,
        }))
    }
}

fn duplicate(domain: &str, route: &str) -> String {
    if domain == "*" {
        return format!("Only a single wildcard domain is permitted in route {route}");
    }
    let domain = domain.to_ascii_lowercase();
    format!(
        "Only unique values for domains are permitted. Duplicate entry of domain {domain} in route {route}"
    )
}

/// What all virtual hosts have in common.
struct Builder<'a> {
    context: &'a HttpFilterContext<'a>,
    most_specific_wins: bool,
    max_body: usize,
    filters: FilterConfigs,
    headers: HeaderLevel,
}

/// What the routes of a virtual host have in common.
struct HostBuilder<'a> {
    builder: &'a Builder<'a>,
    info: Arc<VirtualHost>,
    retry_policy: Option<Arc<RetryPolicy>>,
    filters: FilterConfigs,
    headers: HeaderLevel,
}

impl Builder<'_> {
    fn virtual_host(
        &self,
        config: &config::VirtualHost,
        path: &ConfigPath,
    ) -> Result<VirtualHostRoutes, BuildError> {
        let host = HostBuilder {
            builder: self,
            info: Arc::new(VirtualHost {
                name: config.name.as_str().into(),
                include_request_attempt_count: config.include_request_attempt_count,
                include_attempt_count_in_response: config.include_attempt_count_in_response,
                request_body_buffer_limit: body_limit(
                    config.request_body_buffer_limit,
                    config.per_request_buffer_limit_bytes,
                ),
                metadata: metadata(config.metadata.as_ref()),
            }),
            retry_policy: RetryPolicy::build_optional(config.retry_policy.as_ref(), path)?,
            filters: self.filters.and(&config.typed_per_filter_config, path, self.context)?,
            headers: HeaderLevel::build(config, path)?,
        };
        let routes = config.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| host.entry(route, &path.field("routes").index(index)));
        let entries = routes.collect::<Result<_, _>>()?;
        let to_tls = || Arc::new(Route::new(&host.info, Action::Redirect(Box::new(Redirect::to_tls()))));
        let to_tls = (config.require_tls != config::TlsRequirementType::None).then(to_tls);
        Ok(VirtualHostRoutes { info: host.info, require_tls: config.require_tls, to_tls, entries })
    }
}

impl HostBuilder<'_> {
    fn entry(&self, config: &config::Route, path: &ConfigPath) -> Result<RouteEntry, BuildError> {
        let context = self.builder.context;
        let matcher = RouteMatcher::build(&config.matches, &path.field("match"), context.build)?;
        let own_headers = HeaderLevel::build(config, path)?;
        let levels = [&own_headers, &self.headers, &self.builder.headers];
        let base = RouteBase {
            route: config,
            info: &self.info,
            filters: self.filters.and(&config.typed_per_filter_config, path, context)?,
            headers: HeaderLevels::new(levels.into_iter(), self.builder.most_specific_wins),
            stats: (!config.stat_prefix.is_empty()).then(|| {
                let stats = &context.build.server.stats;
                Arc::new(RouteStats::new(&self.info.name, &config.stat_prefix, stats))
            }),
        };
        let target = match &config.route {
            None => Target::One(base.finish(self.answer(config, &matcher, path)?)),
            Some(action) => self.forward(action, &matcher, base, &path.field("route"))?,
        };
        Ok(RouteEntry { matcher, target })
    }

    fn forward(
        &self,
        config: &config::RouteAction,
        matcher: &RouteMatcher,
        base: RouteBase<'_>,
        path: &ConfigPath,
    ) -> Result<Target, BuildError> {
        let forward =
            |cluster| Forward::build(config, cluster, &matcher.path, self.retry_policy.as_ref(), path);
        if let Some(weighted) = &config.weighted_clusters {
            let path = path.field("weighted_clusters");
            let routes = WeightedRoutes::build(weighted, &base, &forward, &path, self.builder.context)?;
            return Ok(Target::Weighted(routes));
        }
        let cluster = match (&config.cluster, &config.cluster_header) {
            (Some(name), _) => ClusterSource::Name(name.as_str().into()),
            (None, Some(header)) => ClusterSource::Header(readable(header, &path.field("cluster_header"))?),
            (None, None) => {
                let members = "cluster, cluster_header, weighted_clusters";
                let message = format!("one of {members} must be set (cluster_specifier)");
                return Err(BuildError::at(path.clone(), message));
            }
        };
        Ok(Target::One(base.finish(Action::Forward(Box::new(forward(cluster)?)))))
    }

    /// What a route does that does not go to a cluster.
    fn answer(
        &self,
        config: &config::Route,
        matcher: &RouteMatcher,
        path: &ConfigPath,
    ) -> Result<Action, BuildError> {
        if let Some(redirect) = &config.redirect {
            let redirect = Redirect::build(redirect, &matcher.path, &path.field("redirect"))?;
            return Ok(Action::Redirect(Box::new(redirect)));
        }
        if let Some(response) = &config.direct_response {
            let path = path.field("direct_response");
            let response = DirectResponse::build(response, &path, self.builder.max_body)?;
            return Ok(Action::DirectResponse(Box::new(response)));
        }
        // A non_forwarding_action. If no filter answers, the router finds no cluster, as in Envoy.
        let nowhere =
            Forward::build(&config::RouteAction::default(), ClusterSource::None, &matcher.path, None, path)?;
        Ok(Action::Forward(Box::new(nowhere)))
    }
}

/// A route without its action.
#[derive(Clone)]
pub(super) struct RouteBase<'a> {
    pub(super) route: &'a config::Route,
    pub(super) info: &'a Arc<VirtualHost>,
    pub(super) filters: FilterConfigs,
    pub(super) headers: HeaderLevels,
    pub(super) stats: Option<Arc<RouteStats>>,
}

impl RouteBase<'_> {
    pub(super) fn finish(self, action: Action) -> Arc<Route> {
        Arc::new(Route {
            name: self.route.name.as_str().into(),
            virtual_host: Arc::clone(self.info),
            metadata: metadata(self.route.metadata.as_ref()),
            stats: self.stats,
            request_body_buffer_limit: body_limit(
                self.route.request_body_buffer_limit,
                self.route.per_request_buffer_limit_bytes,
            )
            .or(self.info.request_body_buffer_limit),
            action,
            filter_configs: self.filters,
            headers: self.headers,
        })
    }
}

/// The old field has no say where the new one is set.
fn body_limit(limit: Option<u64>, old: Option<u32>) -> Option<usize> {
    limit.or(old.map(u64::from)).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn metadata(config: Option<&Metadata>) -> Option<Arc<Metadata>> {
    config.filter(|metadata| !metadata.is_empty()).map(|metadata| Arc::new(metadata.clone()))
}

/// Both together; where they differ, `over` counts.
pub(super) fn merged(under: Option<MetadataMatch>, over: Option<&Metadata>) -> Option<MetadataMatch> {
    let Some(over) = over.and_then(|metadata| metadata.namespace(LOAD_BALANCING)) else { return under };
    let mut values = under.map(|values| (*values).clone()).unwrap_or_default();
    values.extend(over.0.iter().map(|(key, value)| (key.clone(), value.clone())));
    Some(Arc::new(values))
}

/// A header of requests that a route reads: in lower case, and perhaps a pseudo-header.
pub(super) fn readable(name: &str, path: &ConfigPath) -> Result<Box<str>, BuildError> {
    let name = name.to_ascii_lowercase();
    header_name(name.strip_prefix(':').unwrap_or(&name), path).map(|_| name.into())
}

fn header_name(name: &str, path: &ConfigPath) -> Result<HeaderName, BuildError> {
    name.to_ascii_lowercase()
        .parse()
        .map_err(|_| BuildError::at(path.clone(), format!("{name:?} is no name of a header")))
}
