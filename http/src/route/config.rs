//! The messages of `envoy.config.route.v3`.

mod action;
mod hash_policy;
mod matching;
mod redirect;
mod retry_policy;

use serde::Deserialize;
use underpass_core::{
    config::{HeaderValueOption, Metadata, NonEmptyString},
    network_filter::ClusterReference,
};

pub use self::{
    action::{
        ClusterNotFoundResponseCode, ClusterWeight, ConnectConfig, MaxStreamDuration, ProxyProtocolConfig,
        ProxyProtocolVersion, RouteAction, RoutingPriority, UpgradeConfig, WeightedCluster,
    },
    hash_policy::{
        ConnectionPropertiesHash, CookieAttribute, CookieHash, FilterStateHash, HashPolicy, HeaderHash,
        QueryParameterHash,
    },
    matching::{
        ConnectMatcher, CookieMatcher, FilterStateMatcher, GrpcRouteMatchOptions, QueryParameterMatcher,
        RouteMatch, TlsContextMatchOptions,
    },
    redirect::{DirectResponseAction, RedirectAction, RedirectResponseCode},
    retry_policy::{
        RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate,
        RetryPolicy,
    },
};
use crate::filter::TypedPerFilterConfig;

/// `envoy.config.route.v3.RouteConfiguration`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteConfiguration {
    /// Its name, for logs.
    pub name: String,
    /// The virtual hosts.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Whether clusters that it names must exist when it is loaded; yes unless set, where it is static.
    pub validate_clusters: Option<bool>,
    /// The longest body of a direct response; 4096 bytes unless set.
    pub max_direct_response_body_size_bytes: Option<u32>,
    /// Whether the port of the `Host` header has no say.
    pub ignore_port_in_host_matching: bool,
    /// The header by which virtual hosts are found, instead of `Host`.
    pub vhost_header: String,
    /// Whether what follows a `;` in a segment of the path has no say.
    pub ignore_path_parameters_in_path_matching: bool,
    /// Added to requests.
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from requests.
    pub request_headers_to_remove: Vec<String>,
    /// Added to answers.
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from answers.
    pub response_headers_to_remove: Vec<String>,
    /// Which of several levels that set one header wins: the route, rather than the route configuration.
    pub most_specific_header_mutations_wins: bool,
    /// Headers that only requests from inside may have.
    pub internal_only_headers: Vec<String>,
    /// For filters, by their names.
    pub typed_per_filter_config: TypedPerFilterConfig,
    /// For whoever reads it.
    pub metadata: Option<Metadata>,
}

/// `envoy.config.route.v3.VirtualHost`.
#[derive(Debug, Deserialize)]
pub struct VirtualHost {
    /// Its name, in logs.
    pub name: NonEmptyString,
    /// The hosts that it stands for: `a.b`, `*.b`, `a.*`, `*`.
    pub domains: Vec<String>,
    /// Its routes; the first that matches counts.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Whether requests without TLS are redirected.
    #[serde(default)]
    pub require_tls: TlsRequirementType,
    /// Added to requests.
    #[serde(default)]
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from requests.
    #[serde(default)]
    pub request_headers_to_remove: Vec<String>,
    /// Added to answers.
    #[serde(default)]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from answers.
    #[serde(default)]
    pub response_headers_to_remove: Vec<String>,
    /// For filters, by their names.
    #[serde(default)]
    pub typed_per_filter_config: TypedPerFilterConfig,
    /// Whether the upstream learns which attempt it is (`x-envoy-attempt-count`).
    #[serde(default)]
    pub include_request_attempt_count: bool,
    /// Whether the client learns how many attempts it took.
    #[serde(default)]
    pub include_attempt_count_in_response: bool,
    /// The old name of `request_body_buffer_limit`.
    pub per_request_buffer_limit_bytes: Option<u32>,
    /// How much of a request's body may be kept for another attempt, for routes that do not say so.
    pub request_body_buffer_limit: Option<u64>,
    /// For routes without one of their own.
    pub retry_policy: Option<RetryPolicy>,
    /// For whoever reads it.
    pub metadata: Option<Metadata>,
}

/// `VirtualHost.TlsRequirementType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsRequirementType {
    /// Requests need no TLS.
    #[default]
    None,
    /// Requests from outside do.
    ExternalOnly,
    /// All do.
    All,
}

/// `envoy.config.route.v3.Route`.
#[derive(Debug, Deserialize)]
pub struct Route {
    /// Its name, for logs.
    #[serde(default)]
    pub name: String,
    /// Which requests it is for.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// To a cluster.
    pub route: Option<RouteAction>,
    /// To somewhere else.
    pub redirect: Option<RedirectAction>,
    /// An answer from here.
    pub direct_response: Option<DirectResponseAction>,
    /// Nothing: a filter answers.
    pub non_forwarding_action: Option<NonForwardingAction>,
    /// For whoever reads it.
    pub metadata: Option<Metadata>,
    /// Added to requests.
    #[serde(default)]
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from requests.
    #[serde(default)]
    pub request_headers_to_remove: Vec<String>,
    /// Added to answers.
    #[serde(default)]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from answers.
    #[serde(default)]
    pub response_headers_to_remove: Vec<String>,
    /// For traces, which there are none of.
    pub decorator: Option<Decorator>,
    /// For filters, by their names.
    #[serde(default)]
    pub typed_per_filter_config: TypedPerFilterConfig,
    /// Its stats are `vhost.<virtual host>.route.<stat_prefix>.…`; without it, it has none.
    #[serde(default)]
    pub stat_prefix: String,
    /// The old name of `request_body_buffer_limit`.
    pub per_request_buffer_limit_bytes: Option<u32>,
    /// How much of a request's body may be kept for another attempt; as much as the connection may buffer unless set.
    pub request_body_buffer_limit: Option<u64>,
}

/// `envoy.config.route.v3.NonForwardingAction`; it has no fields.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct NonForwardingAction {}

/// `envoy.config.route.v3.Decorator`: the name of a request's span. There is no tracing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Decorator {
    /// The name.
    pub operation: String,
    /// Whether the next proxy learns it.
    pub propagate: Option<bool>,
}

impl RouteConfiguration {
    /// The clusters that it names; `field` is the field that holds it, `route_config`. They have to be there, unless
    /// `validate_clusters` says no: then a request to one that is not there gets `cluster_not_found_response_code`.
    pub fn cluster_references(&self, field: &str) -> Vec<ClusterReference> {
        let mut references = Vec::new();
        for (host_index, host) in self.virtual_hosts.iter().enumerate() {
            for (index, route) in host.routes.iter().enumerate() {
                let field = format!("{field}.virtual_hosts[{host_index}].routes[{index}].route");
                references.extend(route.route.iter().flat_map(|action| action.cluster_references(&field)));
            }
        }
        if self.validate_clusters == Some(false) {
            references.iter_mut().for_each(|reference| reference.refusal = None);
        }
        references
    }
}
