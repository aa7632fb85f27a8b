//! The filter: what a request's route says is done with it.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, StatusCode, header};
use underpass_core::{
    build_context::BuildError, connection::BoxFuture, response_flags::ResponseFlag, stats::Scope,
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterContext, Next},
    local_reply::{local_reply, local_reply_with_headers},
    route::{Action, DirectResponse, Route},
};

use crate::{
    config::Router,
    exchange,
    request::Request,
    stats::RouterStats,
    strict_headers::{self, StrictHeader},
    upstream_log::UpstreamLogs,
};

/// The filter, shared by all workers and streams.
pub(crate) struct RouterFilter(Arc<Settings>);

/// What the configuration comes to.
pub(crate) struct Settings {
    pub(crate) stats: RouterStats,
    /// Keeps `http.<stat_prefix>.`.
    _scope: Scope,
    /// Whether answers are counted by status.
    pub(crate) dynamic_stats: bool,
    pub(crate) suppress_envoy_headers: bool,
    pub(crate) strict_headers: Vec<StrictHeader>,
    pub(crate) respect_expected_rq_timeout: bool,
    /// Whether answers to gRPC requests are not counted by status.
    pub(crate) suppress_grpc_codes: bool,
    pub(crate) logs: Option<UpstreamLogs>,
    /// The zone of this proxy.
    pub(crate) zone: String,
}

impl RouterFilter {
    pub(crate) fn build(config: &Router, context: &HttpFilterContext<'_>) -> Result<Self, BuildError> {
        let server = context.build.server;
        let scope = server.stats.scope(context.stat_prefix);
        Ok(Self(Arc::new(Settings {
            stats: RouterStats::new(&scope),
            _scope: scope,
            dynamic_stats: config.dynamic_stats.unwrap_or(true),
            suppress_envoy_headers: config.suppress_envoy_headers,
            strict_headers: strict_headers::build(&config.strict_check_headers, context)?,
            respect_expected_rq_timeout: config.respect_expected_rq_timeout,
            suppress_grpc_codes: config.suppress_grpc_request_failure_code_stats,
            logs: UpstreamLogs::build(config, context.build)?,
            zone: server.node.zone.clone(),
        })))
    }
}

impl HttpFilter for RouterFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        _next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let settings = &self.0;
        settings.stats.rq_total.inc();
        let Some(route) = stream.route() else {
            settings.stats.no_route.inc();
            stream.info.set_flag(ResponseFlag::NoRouteFound);
            return ready(local_reply(stream, StatusCode::NOT_FOUND, "", "route_not_found"));
        };
        let answer = match &route.action {
            Action::Forward(_) => match Request::new(settings, stream, route, body) {
                Ok(request) => return Box::pin(exchange::serve(request)),
                Err(refused) => *refused,
            },
            Action::Redirect(redirect) => settings.answer(stream, &route, redirect.status, None),
            Action::DirectResponse(direct) => settings.answer(stream, &route, direct.status, Some(direct)),
        };
        ready(answer)
    }
}

fn ready<'a>(answer: Response) -> BoxFuture<'a, Response> {
    Box::pin(std::future::ready(answer))
}

impl Settings {
    pub(crate) fn cluster_not_found(&self, stream: &HttpStream, status: StatusCode) -> Response {
        self.stats.no_cluster.inc();
        stream.info.set_flag(ResponseFlag::NoClusterFound);
        local_reply(stream, status, "", "cluster_not_found")
    }

    /// The answer of a route that answers itself.
    fn answer(
        &self,
        stream: &HttpStream,
        route: &Route,
        status: StatusCode,
        direct: Option<&DirectResponse>,
    ) -> Response {
        self.stats.rq_direct_response.inc();
        let (body, location) = {
            let head = stream.request();
            let body = direct.map(|direct| direct.body(&head, &stream.info)).unwrap_or_default();
            (body, route.location(&head, &stream.info))
        };
        let body = String::from_utf8_lossy(&body);
        local_reply_with_headers(stream, status, &body, "direct_response", |headers| {
            if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
                headers.insert(header::LOCATION, location);
            }
            if let Some(Ok(kind)) = direct.and_then(DirectResponse::content_type).map(HeaderValue::from_str) {
                headers.insert(header::CONTENT_TYPE, kind);
            }
            route.finalize_response(headers, status, &stream.request(), &stream.info);
        })
    }
}

/// Changes the headers of an answer as its route says.
pub(crate) fn finalize(route: &Route, stream: &HttpStream, answer: &mut Response) {
    let status = answer.status();
    route.finalize_response(answer.headers_mut(), status, &stream.request(), &stream.info);
}
