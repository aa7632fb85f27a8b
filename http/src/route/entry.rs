//! A route as a request sees it.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use underpass_core::{config::Metadata, stream_info::StreamInfo};

use super::{DirectResponse, FilterConfigs, Forward, Redirect, headers::HeaderLevels};
use crate::RequestHead;

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
    /// Its stats are `vhost.<virtual host>.route.<stat_prefix>.…`; empty if it has none.
    pub stat_prefix: Arc<str>,
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
    /// It goes to a cluster.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered from here.
    DirectResponse(Box<DirectResponse>),
    /// A filter answers it; the router has no answer (404).
    NonForwarding,
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
    /// Where it goes, if it goes to a cluster.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// Makes of a request what goes upstream: headers, then the host, then the path.
    ///
    /// `keep_original_path`: whether the path that the client asked for stays in `x-envoy-original-path`, where it is
    /// rewritten (the router's `suppress_envoy_headers` says no).
    pub fn finalize_request(&self, head: &mut RequestHead, info: &StreamInfo, keep_original_path: bool) {
        for changes in &self.headers.request {
            changes.apply_to_request(head, info);
        }
        if let Action::Forward(forward) = &self.action {
            forward.rewrite(head, keep_original_path);
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
