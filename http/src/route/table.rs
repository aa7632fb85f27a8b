//! All routes of a configuration, and how a request finds its own.

use std::sync::Arc;

use http::HeaderName;
use underpass_core::{runtime::Runtime, stream_info::StreamInfo};

use super::{
    config::TlsRequirementType,
    domains::Domains,
    entry::{Route, VirtualHost},
    matching::{RouteMatcher, without_query},
};
use crate::RequestHead;

/// What is built from a [`RouteConfiguration`](super::RouteConfiguration), shared by all workers.
pub struct RouteTable {
    pub(super) name: Arc<str>,
    pub(super) domains: Domains,
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

/// Several clusters, each as a route of its own.
pub(super) struct WeightedRoutes {
    pub(super) routes: Vec<WeightedRoute>,
    /// A header whose number picks the cluster.
    pub(super) header: Option<Box<str>>,
    /// Where weights can be overridden.
    pub(super) runtime: Option<Arc<Runtime>>,
}

pub(super) struct WeightedRoute {
    pub(super) weight: u64,
    /// The runtime key of its weight.
    pub(super) runtime_key: String,
    pub(super) route: Arc<Route>,
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
        let host = self.domains.find(head.authority(), self.ignore_port)?;
        if let Some(route) = host.to_tls.as_ref().filter(|_| host.requires_tls(head)) {
            return Some(Arc::clone(route));
        }
        let path = without_query(head.path());
        let path = if self.ignore_path_parameters { without_parameters(path) } else { path.into() };
        let entry = host.entries.iter().find(|entry| entry.matcher.matches(head, &path, info, random))?;
        Some(match &entry.target {
            Target::One(route) => Arc::clone(route),
            Target::Weighted(routes) => routes.pick(head, random)?,
        })
    }

    /// The virtual host of a request.
    pub fn virtual_host(&self, head: &RequestHead) -> Option<&Arc<VirtualHost>> {
        self.domains.find(head.authority(), self.ignore_port).map(|host| &host.info)
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

impl WeightedRoutes {
    fn pick(&self, head: &RequestHead, random: u64) -> Option<Arc<Route>> {
        let snapshot = self.runtime.as_ref().map(|runtime| runtime.snapshot());
        let weight = |route: &WeightedRoute| {
            snapshot.as_ref().map_or(route.weight, |keys| keys.integer(&route.runtime_key, route.weight))
        };
        let total: u64 = self.routes.iter().map(weight).fold(0, u64::saturating_add);
        let header =
            self.header.as_deref().and_then(|name| head.get(name)).and_then(|value| value.parse().ok());
        let number = header.unwrap_or(random).checked_rem(total)?;
        let mut sum: u64 = 0;
        let picked = self.routes.iter().find(|route| {
            sum = sum.saturating_add(weight(route));
            number < sum
        });
        picked.map(|picked| Arc::clone(&picked.route))
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
