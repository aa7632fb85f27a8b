//! From the messages to the table: checks, defaults, and what levels say together.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode};
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, DataSource, Metadata, Value},
};

use super::{
    Action, DirectResponse, FilterConfigs, Forward, MaxStreamDuration, Redirect, RetryPolicy, Route,
    RouteTable, VirtualHost, config,
    domains::Domains,
    forward::{ClusterSource, ConnectConfig, Upgrade},
    headers::{HeaderLevel, HeaderLevels, HeaderLists},
    matching::RouteMatcher,
    redirect::PathRedirect,
    rewrite::{HostRewrite, PathRewrite},
    table::{RouteEntry, Target, VirtualHostRoutes, WeightedRoute, WeightedRoutes},
};
use crate::filter::HttpFilterContext;

/// Envoy's default of `RouteAction.timeout`.
const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// Envoy's default of `max_direct_response_body_size_bytes`.
const DEFAULT_MAX_BODY: usize = 4096;

/// The namespace of what concerns load balancing.
const LOAD_BALANCING: &str = "envoy.lb";

/// The header changes of a message that has the four lists.
macro_rules! header_level {
    ($message:expr, $path:expr) => {
        HeaderLevel::build(
            &HeaderLists {
                request_add: &$message.request_headers_to_add,
                request_remove: &$message.request_headers_to_remove,
                response_add: &$message.response_headers_to_add,
                response_remove: &$message.response_headers_to_remove,
            },
            $path,
        )
    };
}

type MetadataMatch = Arc<BTreeMap<String, Value>>;

impl RouteTable {
    /// Builds a configuration that stands at `path`.
    ///
    /// `context` is for the filters that routes have a word for; its `name` has no meaning here.
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
        };
        let filters = FilterConfigs::default().and(&config.typed_per_filter_config, path, context)?;
        let headers = header_level!(config, path)?;
        let mut domains = Domains::default();
        for (index, host) in config.virtual_hosts.iter().enumerate() {
            let path = path.field("virtual_hosts").index(index);
            let routes = Arc::new(builder.virtual_host(host, &path, &filters, &headers)?);
            for (index, domain) in host.domains.iter().enumerate() {
                domains.add(domain, &routes).map_err(|()| {
                    let path = path.field("domains").index(index);
                    let message = if domain == "*" {
                        format!("Only a single wildcard domain is permitted in route {}", config.name)
                    } else {
                        format!(
                            "Only unique values for domains are permitted. Duplicate entry of domain {domain} in route {}",
                            config.name
                        )
                    };
                    BuildError::at(path, message)
                })?;
            }
        }
        Ok(Arc::new(Self {
            name: config.name.as_str().into(),
            domains,
            ignore_port: config.ignore_port_in_host_matching,
            ignore_path_parameters: config.ignore_path_parameters_in_path_matching,
            internal_only_headers: config
                .internal_only_headers
                .iter()
                .enumerate()
                .map(|(index, name)| header_name(name, &path.field("internal_only_headers").index(index)))
                .collect::<Result<_, _>>()?,
        }))
    }
}

struct Builder<'a> {
    context: &'a HttpFilterContext<'a>,
    max_body: usize,
    most_specific_wins: bool,
}

/// What the routes of a virtual host have in common.
struct Shared<'a> {
    info: &'a Arc<VirtualHost>,
    filters: &'a FilterConfigs,
    retry_policy: Option<&'a Arc<RetryPolicy>>,
    /// Of the virtual host and of the route configuration.
    headers: [&'a HeaderLevel; 2],
}

impl Builder<'_> {
    fn virtual_host(
        &self,
        config: &config::VirtualHost,
        path: &ConfigPath,
        filters: &FilterConfigs,
        outer_headers: &HeaderLevel,
    ) -> Result<VirtualHostRoutes, BuildError> {
        let headers = header_level!(config, path)?;
        let info = Arc::new(VirtualHost {
            name: config.name.as_str().into(),
            include_request_attempt_count: config.include_request_attempt_count,
            include_attempt_count_in_response: config.include_attempt_count_in_response,
            request_body_buffer_limit: body_limit(
                config.request_body_buffer_limit,
                config.per_request_buffer_limit_bytes,
            ),
            metadata: metadata(config.metadata.as_ref()),
        });
        let filters = filters.and(&config.typed_per_filter_config, path, self.context)?;
        let retry_policy = retry_policy(config.retry_policy.as_ref(), path)?;
        let shared = Shared {
            info: &info,
            filters: &filters,
            retry_policy: retry_policy.as_ref(),
            headers: [&headers, outer_headers],
        };
        let routes = config.routes.iter().enumerate();
        let entries = routes
            .map(|(index, route)| self.entry(route, &path.field("routes").index(index), &shared))
            .collect::<Result<_, _>>()?;
        let to_tls = (config.require_tls != config::TlsRequirementType::None).then(|| {
            Arc::new(Route {
                name: "".into(),
                virtual_host: Arc::clone(&info),
                metadata: None,
                stat_prefix: "".into(),
                request_body_buffer_limit: None,
                action: Action::Redirect(Box::new(Redirect::to_tls())),
                filter_configs: FilterConfigs::default(),
                headers: HeaderLevels::default(),
            })
        });
        Ok(VirtualHostRoutes { info, require_tls: config.require_tls, to_tls, entries })
    }

    fn entry(
        &self,
        config: &config::Route,
        path: &ConfigPath,
        shared: &Shared<'_>,
    ) -> Result<RouteEntry, BuildError> {
        let matcher = RouteMatcher::build(&config.matches, &path.field("match"), self.context.build)?;
        let filters = shared.filters.and(&config.typed_per_filter_config, path, self.context)?;
        let own = header_level!(config, path)?;
        let [of_host, of_all] = shared.headers;
        let headers = HeaderLevels::new([&own, of_host, of_all].into_iter(), self.most_specific_wins);
        let route = |action, filter_configs, headers| {
            Arc::new(Route {
                name: config.name.as_str().into(),
                virtual_host: Arc::clone(shared.info),
                metadata: metadata(config.metadata.as_ref()),
                stat_prefix: config.stat_prefix.as_str().into(),
                request_body_buffer_limit: body_limit(
                    config.request_body_buffer_limit,
                    config.per_request_buffer_limit_bytes,
                )
                .or(shared.info.request_body_buffer_limit),
                action,
                filter_configs,
                headers,
            })
        };
        let action = if let Some(action) = &config.route {
            let path = path.field("route");
            if let Some(weighted) = &action.weighted_clusters {
                let field = path.field("weighted_clusters").field("clusters");
                let member = |(index, cluster): (usize, &config::ClusterWeight)| {
                    let path = field.index(index);
                    let source = match (cluster.name.as_str(), cluster.cluster_header.as_str()) {
                        ("", "") => {
                            return Err(BuildError::at(
                                path,
                                "At least one of name or cluster_header need to be specified",
                            ));
                        }
                        ("", header) => {
                            ClusterSource::Header(header_name(header, &path.field("cluster_header"))?)
                        }
                        (name, "") => ClusterSource::Name(name.into()),
                        _ => {
                            return Err(BuildError::at(
                                path,
                                "Only one of name or cluster_header can be specified",
                            ));
                        }
                    };
                    let mut forward = self.forward(action, source, &matcher, &path, shared)?;
                    forward.cluster_host_rewrite = literal_host(
                        cluster.host_rewrite_literal.as_deref(),
                        &path.field("host_rewrite_literal"),
                    )?;
                    forward.metadata_match = merged(forward.metadata_match, cluster.metadata_match.as_ref());
                    let filters = filters.and(&cluster.typed_per_filter_config, &path, self.context)?;
                    Ok(WeightedRoute {
                        weight: cluster.weight.unwrap_or_default().into(),
                        runtime_key: format!("{}.{}", weighted.runtime_key_prefix, cluster.name),
                        route: route(
                            Action::Forward(Box::new(forward)),
                            filters,
                            headers.after(&header_level!(cluster, &path)?),
                        ),
                    })
                };
                let routes =
                    weighted.clusters.iter().enumerate().map(member).collect::<Result<Vec<_>, _>>()?;
                if routes.iter().map(|route| route.weight).sum::<u64>() == 0 {
                    let path = path.field("weighted_clusters");
                    return Err(BuildError::at(
                        path,
                        "Sum of weights in the weighted_cluster must be greater than 0.",
                    ));
                }
                let target = Target::Weighted(WeightedRoutes {
                    routes,
                    header: weighted.header_name.as_deref().map(|name| name.to_ascii_lowercase().into()),
                    runtime: (!weighted.runtime_key_prefix.is_empty())
                        .then(|| Arc::clone(&self.context.build.server.runtime)),
                });
                return Ok(RouteEntry { matcher, target });
            }
            let source = match (&action.cluster, &action.cluster_header) {
                (Some(name), _) => ClusterSource::Name(name.as_str().into()),
                (None, Some(header)) => {
                    ClusterSource::Header(header_name(header, &path.field("cluster_header"))?)
                }
                (None, None) => {
                    let message =
                        "one of cluster, cluster_header, weighted_clusters must be set (cluster_specifier)";
                    return Err(BuildError::at(path, message));
                }
            };
            Action::Forward(Box::new(self.forward(action, source, &matcher, &path, shared)?))
        } else if let Some(redirect) = &config.redirect {
            Action::Redirect(Box::new(build_redirect(redirect, &matcher)))
        } else if let Some(response) = &config.direct_response {
            Action::DirectResponse(Box::new(self.direct_response(response, &path.field("direct_response"))?))
        } else {
            Action::NonForwarding
        };
        Ok(RouteEntry { matcher, target: Target::One(route(action, filters, headers)) })
    }

    fn forward(
        &self,
        config: &config::RouteAction,
        cluster: ClusterSource,
        matcher: &RouteMatcher,
        path: &ConfigPath,
        shared: &Shared<'_>,
    ) -> Result<Forward, BuildError> {
        let own = retry_policy(config.retry_policy.as_ref(), path)?;
        let upgrade = |config: &config::UpgradeConfig| Upgrade {
            kind: config.upgrade_type.as_str().into(),
            enabled: config.enabled.unwrap_or(true),
            connect: config.connect_config.as_ref().map(|config| ConnectConfig {
                allow_post: config.allow_post,
                proxy_protocol: config.proxy_protocol_config.as_ref().map(|config| config.version),
            }),
        };
        Ok(Forward {
            cluster,
            cluster_not_found: match config.cluster_not_found_response_code {
                config::ClusterNotFoundResponseCode::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
                config::ClusterNotFoundResponseCode::NotFound => StatusCode::NOT_FOUND,
                config::ClusterNotFoundResponseCode::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            },
            timeout: Some(config.timeout.unwrap_or(DEFAULT_TIMEOUT)).filter(|timeout| !timeout.is_zero()),
            idle_timeout: config.idle_timeout,
            flush_timeout: config.flush_timeout,
            max_stream_duration: config.max_stream_duration.map(|config| MaxStreamDuration {
                max: config.max_stream_duration,
                grpc_timeout_max: config.grpc_timeout_header_max,
                grpc_timeout_offset: config.grpc_timeout_header_offset,
            }),
            max_grpc_timeout: config.max_grpc_timeout,
            grpc_timeout_offset: config.grpc_timeout_offset,
            retry_policy: own.or_else(|| shared.retry_policy.cloned()),
            metadata_match: merged(None, config.metadata_match.as_ref()),
            high_priority: config.priority == config::RoutingPriority::High,
            auto_host_rewrite: config.auto_host_rewrite.unwrap_or_default(),
            append_x_forwarded_host: config.append_x_forwarded_host,
            upgrades: config.upgrade_configs.iter().map(upgrade).collect(),
            path_rewrite: path_rewrite(config, matcher, path)?,
            host_rewrite: host_rewrite(config, path)?,
            cluster_host_rewrite: None,
        })
    }

    fn direct_response(
        &self,
        config: &config::DirectResponseAction,
        path: &ConfigPath,
    ) -> Result<DirectResponse, BuildError> {
        let load = |source: &DataSource| {
            let path = path.field("body");
            let body = source.load().map_err(|error| BuildError::at(path.clone(), error.to_string()))?;
            if body.len() > self.max_body {
                let message =
                    format!("response body size is {} bytes; maximum is {}", body.len(), self.max_body);
                return Err(BuildError::at(path, message));
            }
            Ok(body.into())
        };
        let status = StatusCode::from_u16(config.status)
            .map_err(|_| BuildError::at(path.field("status"), "a status has three digits"))?;
        Ok(DirectResponse { status, body: config.body.as_ref().map(load).transpose()?.unwrap_or_default() })
    }
}

/// The old field has no say where the new one is set.
fn body_limit(limit: Option<u64>, old: Option<u32>) -> Option<usize> {
    limit.or(old.map(u64::from)).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn path_rewrite(
    config: &config::RouteAction,
    matcher: &RouteMatcher,
    path: &ConfigPath,
) -> Result<Option<PathRewrite>, BuildError> {
    match (config.prefix_rewrite.as_str(), &config.regex_rewrite) {
        ("", None) => Ok(None),
        (prefix, None) => Ok(Some(PathRewrite::prefix(&matcher.path, prefix))),
        ("", Some(regex)) => Ok(Some(PathRewrite::Regex(regex.clone()))),
        (_, Some(_)) => {
            let message = "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy";
            Err(BuildError::at(path.field("prefix_rewrite"), message))
        }
    }
}

fn host_rewrite(config: &config::RouteAction, path: &ConfigPath) -> Result<Option<HostRewrite>, BuildError> {
    if let Some(host) =
        literal_host(config.host_rewrite_literal.as_deref(), &path.field("host_rewrite_literal"))?
    {
        return Ok(Some(HostRewrite::Literal(host)));
    }
    if let Some(header) = config.host_rewrite_header.as_deref().filter(|header| !header.is_empty()) {
        return header_name(header, &path.field("host_rewrite_header"))
            .map(|name| Some(HostRewrite::Header(name)));
    }
    Ok(config.host_rewrite_path_regex.clone().map(HostRewrite::PathRegex))
}

fn literal_host(host: Option<&str>, path: &ConfigPath) -> Result<Option<HeaderValue>, BuildError> {
    let value = |host: &str| {
        HeaderValue::from_str(host).map_err(|_| BuildError::at(path.clone(), format!("{host:?} is no host")))
    };
    host.filter(|host| !host.is_empty()).map(value).transpose()
}

fn build_redirect(config: &config::RedirectAction, matcher: &RouteMatcher) -> Redirect {
    let https = config.https_redirect.unwrap_or_default();
    Redirect {
        status: match config.response_code {
            config::RedirectResponseCode::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
            config::RedirectResponseCode::Found => StatusCode::FOUND,
            config::RedirectResponseCode::SeeOther => StatusCode::SEE_OTHER,
            config::RedirectResponseCode::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
            config::RedirectResponseCode::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
        },
        scheme: config.scheme_redirect.clone().or_else(|| https.then(|| "https".to_owned())),
        host: Some(config.host_redirect.clone()).filter(|host| !host.is_empty()),
        port: Some(config.port_redirect).filter(|port| *port != 0),
        path: match (&config.path_redirect, &config.prefix_rewrite, &config.regex_rewrite) {
            (Some(path), ..) if !path.is_empty() => {
                PathRedirect::Path { path: path.clone(), has_query: path.contains('?') }
            }
            (_, Some(prefix), _) if !prefix.is_empty() => {
                PathRedirect::Rewrite(PathRewrite::prefix(&matcher.path, prefix))
            }
            (_, _, Some(regex)) => PathRedirect::Rewrite(PathRewrite::Regex(regex.clone())),
            _ => PathRedirect::Keep,
        },
        strip_query: config.strip_query,
    }
}

fn retry_policy(
    config: Option<&config::RetryPolicy>,
    path: &ConfigPath,
) -> Result<Option<Arc<RetryPolicy>>, BuildError> {
    let build = |config| RetryPolicy::build(config, &path.field("retry_policy")).map(Arc::new);
    config.map(build).transpose()
}

fn metadata(config: Option<&Metadata>) -> Option<Arc<Metadata>> {
    config.filter(|metadata| !metadata.is_empty()).map(|metadata| Arc::new(metadata.clone()))
}

/// Both together; where they differ, `over` counts.
fn merged(under: Option<MetadataMatch>, over: Option<&Metadata>) -> Option<MetadataMatch> {
    let Some(over) = over.and_then(|metadata| metadata.namespace(LOAD_BALANCING)) else { return under };
    let mut values = under.map(|values| (*values).clone()).unwrap_or_default();
    values.extend(over.0.iter().map(|(key, value)| (key.clone(), value.clone())));
    Some(Arc::new(values))
}

fn header_name(name: &str, path: &ConfigPath) -> Result<HeaderName, BuildError> {
    name.to_ascii_lowercase()
        .parse()
        .map_err(|_| BuildError::at(path.clone(), format!("{name:?} is no name of a header")))
}
