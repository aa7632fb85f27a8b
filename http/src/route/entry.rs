//! A route as a request sees it.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use underpass_core::{config::Metadata, stream_info::StreamInfo};

use super::{DirectResponse, FilterConfigs, Forward, Redirect, headers::HeaderLevels};
use crate::{RequestHead, response_stats::RouteStats};

/// What a request gets: where it goes and what is changed on the way.
///
/// It is effective: what the route configuration, the virtual host, the route and the weighted cluster say is merged.
pub struct Route {
    /// The route's name, for `%ROUTE_NAME%`; empty if it has none.
    pub name: Arc<str>,
    /// The virtual host.
    pub virtual_host: Arc<VirtualHost>,
    /// The route's metadata, for `%METADATA(ROUTE:…)%`.
    pub metadata: Option<Arc<Metadata>>,
    /// Its stats, if it has a `stat_prefix`.
    pub stats: Option<Arc<RouteStats>>,
    /// How much of a request's body may be kept for another attempt; `None` as much as the connection may buffer.
    pub request_body_buffer_limit: Option<usize>,
    /// What is done.
    pub action: Action,
    /// For filters.
    pub filter_configs: FilterConfigs,
    pub(super) headers: HeaderLevels,
}

/// What is done with a request.
pub enum Action {
    /// It goes to a cluster. A `non_forwarding_action` is such a route too, without a cluster.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered from here.
    DirectResponse(Box<DirectResponse>),
}

/// What all routes of a virtual host share.
#[derive(Debug, Default)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// Whether the upstream learns which attempt it is (`x-envoy-attempt-count`).
    pub include_request_attempt_count: bool,
    /// Whether the client learns how many attempts it took.
    pub include_attempt_count_in_response: bool,
    /// As that of routes, for those that have none.
    pub request_body_buffer_limit: Option<usize>,
    /// Its metadata.
    pub metadata: Option<Arc<Metadata>>,
}

impl Route {
    /// A route that only does this.
    pub(super) fn new(virtual_host: &Arc<VirtualHost>, action: Action) -> Self {
        Self {
            name: "".into(),
            virtual_host: Arc::clone(virtual_host),
            metadata: None,
            stats: None,
            request_body_buffer_limit: None,
            action,
            filter_configs: FilterConfigs::default(),
            headers: HeaderLevels::default(),
        }
    }

    /// Where it goes, if it goes to a cluster.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// Makes of a request what goes upstream: headers, then the host, then the path.
    ///
    /// `keep_original`: whether the path and the host that the client asked for stay in `x-envoy-original-path` and
    /// `x-envoy-original-host`, where they are rewritten (the router's `suppress_envoy_headers` says no).
    pub fn finalize_request(&self, head: &mut RequestHead, info: &StreamInfo, keep_original: bool) {
        for changes in &self.headers.request {
            changes.apply_to_request(head, info);
        }
        if let Action::Forward(forward) = &self.action {
            forward.rewrite(head, info, keep_original);
        }
    }

    /// The `location` of the answer that the route gives itself, if it has one: redirects do, and direct responses with 201 or
    /// a status that redirects.
    pub fn location(&self, head: &RequestHead, info: &StreamInfo) -> Option<String> {
        match &self.action {
            Action::Forward(_) => None,
            Action::Redirect(redirect) => Some(redirect.location(head, info)),
            Action::DirectResponse(response) => response.location(head),
        }
    }

    /// Changes the headers of an answer, whoever gave it; `request` is what went upstream.
    pub fn finalize_response(
        &self,
        headers: &mut HeaderMap,
        status: StatusCode,
        request: &RequestHead,
        info: &StreamInfo,
    ) {
        for changes in &self.headers.response {
            changes.apply_to_response(headers, status, request, info);
        }
    }
}
