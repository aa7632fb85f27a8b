//! All routes of a configuration, and how a request finds its own.

use std::sync::Arc;

use http::HeaderName;
use underpass_core::stream_info::StreamInfo;

use super::{
    config::TlsRequirementType,
    domains::{Domains, without_port},
    entry::{Route, VirtualHost},
    matching::{RouteMatcher, without_query},
    weighted::WeightedRoutes,
};
use crate::RequestHead;

/// What is built from a [`RouteConfiguration`](super::RouteConfiguration), shared by all workers.
pub struct RouteTable {
    pub(super) name: Arc<str>,
    pub(super) domains: Domains,
    /// Where the host stands that virtual hosts are found by, if that is not `:authority`.
    pub(super) host_header: Option<String>,
    pub(super) ignore_port: bool,
    pub(super) ignore_path_parameters: bool,
    pub(super) internal_only_headers: Vec<HeaderName>,
}

/// A virtual host with its routes.
pub(super) struct VirtualHostRoutes {
    pub(super) info: Arc<VirtualHost>,
    pub(super) require_tls: TlsRequirementType,
    /// Where requests without TLS are sent.
    pub(super) to_tls: Option<Arc<Route>>,
    pub(super) entries: Vec<RouteEntry>,
}

/// A route and which requests it is for.
pub(super) struct RouteEntry {
    pub(super) matcher: RouteMatcher,
    pub(super) target: Target,
}

/// Where a route leads.
pub(super) enum Target {
    One(Arc<Route>),
    Weighted(WeightedRoutes),
}

impl RouteTable {
    /// The configuration's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Headers that the connection manager takes from requests from outside (`internal_only_headers`).
    pub fn internal_only_headers(&self) -> &[HeaderName] {
        &self.internal_only_headers
    }

    /// The route of a request; `random` decides where chance does, and is the same for all questions about one request.
    pub fn route(&self, head: &RequestHead, info: &StreamInfo, random: u64) -> Option<Arc<Route>> {
        let host = self.host(head)?;
        if let Some(route) = host.to_tls.as_ref().filter(|_| host.requires_tls(head)) {
            return Some(Arc::clone(route));
        }
        let path = without_query(head.path());
        let path = if self.ignore_path_parameters { without_parameters(path) } else { path.into() };
        let entry = host.entries.iter().find(|entry| entry.matcher.matches(head, &path, info, random))?;
        Some(match &entry.target {
            Target::One(route) => Arc::clone(route),
            Target::Weighted(routes) => routes.pick(head, info, random)?,
        })
    }

    /// The virtual host of a request.
    pub fn virtual_host(&self, head: &RequestHead) -> Option<&Arc<VirtualHost>> {
        self.host(head).map(|host| &host.info)
    }

    fn host(&self, head: &RequestHead) -> Option<&Arc<VirtualHostRoutes>> {
        let host = match &self.host_header {
            None => head.authority(),
            Some(_) if self.domains.has_only_any() => "",
            // As in Envoy, a request without that header has no virtual host, not even `*`.
            Some(header) => head.get(header)?,
        };
        self.domains.find(if self.ignore_port { without_port(host) } else { host })
    }
}

impl VirtualHostRoutes {
    /// The scheme that counts is the one of the client's connection, which `x-forwarded-proto` tells.
    fn requires_tls(&self, head: &RequestHead) -> bool {
        let scheme = head.get("x-forwarded-proto").unwrap_or(head.scheme.as_str());
        match self.require_tls {
            TlsRequirementType::None => false,
            TlsRequirementType::ExternalOnly => {
                scheme != "https" && head.get("x-envoy-internal") != Some("true")
            }
            TlsRequirementType::All => scheme != "https",
        }
    }
}

/// A path without what follows a `;` in each of its segments.
fn without_parameters(path: &str) -> std::borrow::Cow<'_, str> {
    if !path.contains(';') {
        return path.into();
    }
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/").into()
}
