//! To which cluster a request goes, and how.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use underpass_core::config::Value;

use super::{
    RetryPolicy, config,
    rewrite::{HostRewrite, PathRewrite, set_host},
};
use crate::RequestHead;

/// A route to a cluster.
pub struct Forward {
    pub(super) cluster: ClusterSource,
    /// What a request gets whose cluster is not there.
    pub cluster_not_found: StatusCode,
    /// From the end of the request to the end of the answer; `None` for ever.
    pub timeout: Option<Duration>,
    /// How long the stream may be silent: zero for ever, `None` as the connection manager says.
    pub idle_timeout: Option<Duration>,
    /// How long the client may take no data: zero for ever, `None` as the stream's idle timeout.
    pub flush_timeout: Option<Duration>,
    /// How long a stream may last.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// Up to which time a gRPC request's `grpc-timeout` counts instead of `timeout`, if it does; any if zero.
    pub max_grpc_timeout: Option<Duration>,
    /// How much less than `grpc-timeout` says it gets then.
    pub grpc_timeout_offset: Option<Duration>,
    /// When it is tried again; the route's or the virtual host's.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// What a host's `envoy.lb` metadata must hold.
    pub metadata_match: Option<Arc<BTreeMap<String, Value>>>,
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
    Header(HeaderName),
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

/// How long a stream may last.
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
    /// The name of the cluster; `None` if the header that names it is not there.
    pub fn cluster<'a>(&'a self, head: &'a RequestHead) -> Option<&'a str> {
        match &self.cluster {
            ClusterSource::Name(name) => Some(name),
            ClusterSource::Header(name) => head.get(name.as_str()).filter(|name| !name.is_empty()),
        }
    }

    /// Whether the route allows an upgrade (`websocket`, `CONNECT`; case does not count), if it says so.
    pub fn upgrade(&self, kind: &str) -> Option<bool> {
        self.find_upgrade(kind).map(|upgrade| upgrade.enabled)
    }

    /// Whether and how a CONNECT ends here. For an upgrade of another kind, there is none.
    pub fn connect_config(&self) -> Option<&ConnectConfig> {
        self.find_upgrade("CONNECT").filter(|upgrade| upgrade.enabled)?.connect.as_ref()
    }

    pub(super) fn rewrite(&self, head: &mut RequestHead, keep_original_path: bool) {
        if let Some(host) = &self.cluster_host_rewrite {
            head.authority = host.clone();
        }
        if let Some(rewrite) = &self.host_rewrite {
            rewrite.apply(head, self.append_x_forwarded_host);
        }
        if let Some(rewrite) = &self.path_rewrite {
            rewrite.apply(head, keep_original_path);
        }
    }

    /// Makes the name of the host that was picked the request's `Host`, where [`auto_host_rewrite`](Self::auto_host_rewrite)
    /// asks for that.
    pub fn rewrite_host_to(&self, head: &mut RequestHead, hostname: HeaderValue) {
        set_host(head, hostname, self.append_x_forwarded_host);
    }

    fn find_upgrade(&self, kind: &str) -> Option<&Upgrade> {
        self.upgrades.iter().find(|upgrade| upgrade.kind.eq_ignore_ascii_case(kind))
    }
}
