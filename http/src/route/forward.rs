//! To which cluster a request goes, and how.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use underpass_core::{build_context::BuildError, config::ConfigPath, stream_info::StreamInfo};

use super::{
    HashPolicy, RetryPolicy,
    build::{MetadataMatch, merged, readable},
    config, format,
    matching::PathMatcher,
    rewrite::{HostRewrite, PathRewrite, set_host},
};
use crate::{RequestHead, grpc_timeout, local_reply::is_grpc};

/// Envoy's default of `RouteAction.timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// A route to a cluster.
pub struct Forward {
    pub(super) cluster: ClusterSource,
    /// What a request gets whose cluster is not there.
    pub cluster_not_found: StatusCode,
    /// From the end of the request to the end of the answer; `None` for ever.
    pub timeout: Option<Duration>,
    /// How long the stream may be silent: zero for ever, `None` as the connection manager says.
    pub idle_timeout: Option<Duration>,
    /// How long a stream may last.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// Up to which time a gRPC request's `grpc-timeout` counts instead of `timeout`, if it does; any if zero.
    pub max_grpc_timeout: Option<Duration>,
    /// How much less than `grpc-timeout` says it gets then.
    pub grpc_timeout_offset: Option<Duration>,
    /// When it is tried again; the route's or the virtual host's.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// What hash-based load balancing goes by.
    pub hash_policy: Option<Arc<HashPolicy>>,
    /// What a host's `envoy.lb` metadata must hold.
    pub metadata_match: Option<MetadataMatch>,
    /// Whether the circuit breakers of high priority count.
    pub high_priority: bool,
    /// Whether the name of the host that is picked becomes the request's `Host`: for the router, who picks it.
    pub auto_host_rewrite: bool,
    /// Whether the client's `Host` is kept in `x-forwarded-host`, where it is rewritten.
    pub append_x_forwarded_host: bool,
    pub(super) upgrades: Vec<Upgrade>,
    pub(super) path_rewrite: Option<PathRewrite>,
    pub(super) host_rewrite: Option<HostRewrite>,
    /// The weighted cluster's name for the host. It goes first, so a rewrite of the route goes over it.
    pub(super) cluster_host_rewrite: Option<HeaderValue>,
}

/// Where the name of the cluster is.
#[derive(Debug, Clone)]
pub(super) enum ClusterSource {
    Name(Arc<str>),
    Header(Box<str>),
    /// Nowhere: the route is there for a filter that answers.
    None,
}

pub(super) struct Upgrade {
    pub(super) kind: Box<str>,
    pub(super) enabled: bool,
    pub(super) connect: Option<ConnectConfig>,
}

/// How a CONNECT ends here: its bytes go on without it.
#[derive(Debug, Clone, Default)]
pub struct ConnectConfig {
    /// Whether a POST is treated as a CONNECT.
    pub allow_post: bool,
    /// The PROXY protocol header that goes first.
    pub proxy_protocol: Option<config::ProxyProtocolVersion>,
}

/// How long a stream may last; [`Forward::stream_duration`] says it for a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxStreamDuration {
    /// Zero for ever, `None` as the connection manager says.
    pub max: Option<Duration>,
    /// Up to which time the request's `grpc-timeout` counts, if it does; any if zero.
    pub grpc_timeout_max: Option<Duration>,
    /// How much sooner than `grpc-timeout` says the stream ends.
    pub grpc_timeout_offset: Option<Duration>,
}

impl Forward {
    pub(super) fn build(
        config: &config::RouteAction,
        cluster: ClusterSource,
        matcher: &PathMatcher,
        retry_policy_of_host: Option<&Arc<RetryPolicy>>,
        path: &ConfigPath,
    ) -> Result<Self, BuildError> {
        let retry_policy = RetryPolicy::build_optional(config.retry_policy.as_ref(), path)?;
        Ok(Self {
            cluster,
            cluster_not_found: match config.cluster_not_found_response_code {
                config::ClusterNotFoundResponseCode::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
                config::ClusterNotFoundResponseCode::NotFound => StatusCode::NOT_FOUND,
                config::ClusterNotFoundResponseCode::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            },
            timeout: Some(config.timeout.unwrap_or(DEFAULT_TIMEOUT)).filter(|timeout| !timeout.is_zero()),
            idle_timeout: config.idle_timeout,
            max_stream_duration: config.max_stream_duration.map(|config| MaxStreamDuration {
                max: config.max_stream_duration,
                grpc_timeout_max: config.grpc_timeout_header_max,
                grpc_timeout_offset: config.grpc_timeout_header_offset,
            }),
            max_grpc_timeout: config.max_grpc_timeout,
            grpc_timeout_offset: config.grpc_timeout_offset,
            retry_policy: retry_policy.or_else(|| retry_policy_of_host.cloned()),
            hash_policy: HashPolicy::build(&config.hash_policy, &path.field("hash_policy"))?.map(Arc::new),
            metadata_match: merged(None, config.metadata_match.as_ref()),
            high_priority: config.priority == config::RoutingPriority::High,
            auto_host_rewrite: config.auto_host_rewrite.unwrap_or_default(),
            append_x_forwarded_host: config.append_x_forwarded_host,
            upgrades: upgrades(&config.upgrade_configs, &path.field("upgrade_configs"))?,
            path_rewrite: path_rewrite(config, matcher, path)?,
            host_rewrite: host_rewrite(config, path)?,
            cluster_host_rewrite: None,
        })
    }

    /// The name of the cluster; `None` if the header that names it is not there, or a `non_forwarding_action` names none. Both
    /// get [`cluster_not_found`](Self::cluster_not_found).
    pub fn cluster<'a>(&'a self, head: &'a RequestHead) -> Option<&'a str> {
        match &self.cluster {
            ClusterSource::Name(name) => Some(name),
            ClusterSource::Header(name) => head.get(name).filter(|name| !name.is_empty()),
            ClusterSource::None => None,
        }
    }

    /// How long the stream of a request may last from its beginning, if not for ever; `of_manager` is what the connection
    /// manager says. A gRPC request is told, in its `grpc-timeout`.
    pub fn stream_duration(&self, head: &mut RequestHead, of_manager: Option<Duration>) -> Option<Duration> {
        let Some(limits) = &self.max_stream_duration else { return of_manager };
        let asked = grpc_timeout::read(&head.headers);
        let duration = match (asked, limits.grpc_timeout_max) {
            (Some(asked), Some(max)) => {
                let capped = if max.is_zero() { asked } else { asked.min(max) };
                Some(capped.saturating_sub(limits.grpc_timeout_offset.unwrap_or_default()))
            }
            _ => limits.max.map_or(of_manager, |max| (!max.is_zero()).then_some(max)),
        };
        if is_grpc(head) {
            match duration {
                Some(duration) => grpc_timeout::write(&mut head.headers, duration),
                None if of_manager.is_some() => {
                    head.headers.remove(&grpc_timeout::GRPC_TIMEOUT);
                }
                None => {}
            }
        }
        duration
    }

    /// Whether the route allows an upgrade (`websocket`, `CONNECT`; case does not count), if it says so.
    pub fn upgrade(&self, kind: &str) -> Option<bool> {
        self.find_upgrade(kind).map(|upgrade| upgrade.enabled)
    }

    /// Whether and how a CONNECT ends here. For an upgrade of another kind, there is none.
    pub fn connect_config(&self) -> Option<&ConnectConfig> {
        self.find_upgrade("CONNECT").filter(|upgrade| upgrade.enabled)?.connect.as_ref()
    }

    pub(super) fn rewrite(&self, head: &mut RequestHead, info: &StreamInfo, keep_original: bool) {
        if let Some(host) = &self.cluster_host_rewrite {
            head.authority = host.clone();
        }
        if let Some(rewrite) = &self.host_rewrite {
            rewrite.apply(head, info, self.append_x_forwarded_host, keep_original);
        }
        if let Some(rewrite) = &self.path_rewrite {
            rewrite.apply(head, info, keep_original);
        }
    }

    /// Makes the name of the host that was picked the request's `Host`, where [`auto_host_rewrite`](Self::auto_host_rewrite)
    /// asks for that.
    pub fn rewrite_host_to(&self, head: &mut RequestHead, hostname: HeaderValue, keep_original: bool) {
        set_host(head, hostname, self.append_x_forwarded_host, keep_original);
    }

    fn find_upgrade(&self, kind: &str) -> Option<&Upgrade> {
        self.upgrades.iter().find(|upgrade| upgrade.kind.eq_ignore_ascii_case(kind))
    }
}

fn upgrades(configs: &[config::UpgradeConfig], path: &ConfigPath) -> Result<Vec<Upgrade>, BuildError> {
    let mut upgrades: Vec<Upgrade> = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let (kind, path) = (config.upgrade_type.as_str(), path.index(index));
        if upgrades.iter().any(|upgrade| upgrade.kind.eq_ignore_ascii_case(kind)) {
            return Err(BuildError::at(path.field("upgrade_type"), format!("Duplicate upgrade {kind}")));
        }
        if config.connect_config.is_some() && !kind.eq_ignore_ascii_case("CONNECT") {
            let message = format!("Non-CONNECT upgrade type {kind} has ConnectConfig");
            return Err(BuildError::at(path.field("connect_config"), message));
        }
        upgrades.push(Upgrade {
            kind: kind.into(),
            enabled: config.enabled.unwrap_or(true),
            connect: config.connect_config.as_ref().map(|config| ConnectConfig {
                allow_post: config.allow_post,
                proxy_protocol: config.proxy_protocol_config.as_ref().map(|config| config.version),
            }),
        });
    }
    Ok(upgrades)
}

fn path_rewrite(
    config: &config::RouteAction,
    matcher: &PathMatcher,
    path: &ConfigPath,
) -> Result<Option<PathRewrite>, BuildError> {
    let prefix = Some(config.prefix_rewrite.as_str()).filter(|prefix| !prefix.is_empty());
    let format = format::parse(Some(&config.path_rewrite), &path.field("path_rewrite"))?;
    let set = [prefix.is_some(), config.regex_rewrite.is_some(), format.is_some()];
    if set.into_iter().filter(|set| *set).count() > 1 {
        let message =
            "Specify only one of prefix_rewrite, regex_rewrite, path_rewrite or path_rewrite_policy";
        return Err(BuildError::at(path.clone(), message));
    }
    let prefix = prefix.map(|prefix| PathRewrite::prefix(matcher, prefix));
    let regex = config.regex_rewrite.clone().map(PathRewrite::Regex);
    Ok(prefix.or(regex).or(format.map(PathRewrite::Format)))
}

fn host_rewrite(config: &config::RouteAction, path: &ConfigPath) -> Result<Option<HostRewrite>, BuildError> {
    let literal = literal_host(config.host_rewrite_literal.as_deref(), &path.field("host_rewrite_literal"))?;
    let header = config.host_rewrite_header.as_deref().filter(|header| !header.is_empty());
    let header = header.map(|header| readable(header, &path.field("host_rewrite_header"))).transpose()?;
    let format = format::parse(config.host_rewrite.as_deref(), &path.field("host_rewrite"))?;
    let regex = config.host_rewrite_path_regex.clone();
    let rewrite = literal.map(HostRewrite::Literal).or(header.map(HostRewrite::Header));
    Ok(rewrite.or(regex.map(HostRewrite::PathRegex)).or(format.map(HostRewrite::Format)))
}

/// A host for requests; an empty one is none.
pub(super) fn literal_host(host: Option<&str>, path: &ConfigPath) -> Result<Option<HeaderValue>, BuildError> {
    let value = |host: &str| {
        HeaderValue::from_str(host).map_err(|_| BuildError::at(path.clone(), format!("{host:?} is no host")))
    };
    host.filter(|host| !host.is_empty()).map(value).transpose()
}
