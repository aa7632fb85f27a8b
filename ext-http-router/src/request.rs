//! A request that goes to a cluster: what it takes from its headers and its route.

use std::{borrow::Cow, cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, uri::Scheme};
use underpass_core::{
    cluster::{Cluster, ClusterInfo, Host},
    response_flags::ResponseFlag,
};
use underpass_http::{
    Body, HttpStream, RequestHead, Response,
    local_reply::{local_reply, local_reply_with_headers},
    protocol_options::ClusterProtocolOptions,
    response_stats::{Answered, ResponseStats},
    route::{Forward, Route},
};

use crate::{
    clock::Clock,
    filter::Settings,
    request_body::RequestBody,
    retry_state::RetryState,
    strict_headers::StrictHeader,
    timeouts::{RouteTimeouts, Timeouts, milliseconds},
};

const ALT_STAT_NAME: &str = "x-envoy-upstream-alt-stat-name";
const STREAM_DURATION: &str = "x-envoy-upstream-stream-duration-ms";
const TIMEOUT_ALT_RESPONSE: &str = "x-envoy-upstream-rq-timeout-alt-response";
const HEDGE: &str = "x-envoy-hedge-on-per-try-timeout";
const ATTEMPT_COUNT: &str = "x-envoy-attempt-count";

/// A request on its way to a cluster.
pub(crate) struct Request {
    pub(crate) settings: Arc<Settings>,
    pub(crate) stream: Rc<HttpStream>,
    pub(crate) route: Arc<Route>,
    pub(crate) cluster: Rc<dyn Cluster>,
    pub(crate) body: RequestBody,
    pub(crate) timeouts: Timeouts,
    pub(crate) clock: Clock,
    pub(crate) retries: Option<RetryState>,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    pub(crate) is_grpc: bool,
    /// How the request is answered when time is up.
    pub(crate) timeout_status: StatusCode,
    /// Cookies by which the client comes back to the same host.
    pub(crate) cookies: RefCell<Vec<HeaderValue>>,
    is_internal: bool,
    alternative_name: Option<String>,
}

impl Request {
    /// # Errors
    /// The answer, if the request is refused.
    pub(crate) fn new(
        settings: &Arc<Settings>,
        stream: &Rc<HttpStream>,
        route: Arc<Route>,
        body: Body,
    ) -> Result<Self, Box<Response>> {
        // proven: only routes to a cluster come here.
        let Some(forward) = route.forward() else {
            return Err(Box::new(settings.cluster_not_found(stream, StatusCode::SERVICE_UNAVAILABLE)));
        };
        let mut head = stream.request_mut();
        let cluster = forward
            .cluster(&head)
            .and_then(|name| stream.worker().cluster_manager().and_then(|clusters| clusters.cluster(name)));
        let Some(cluster) = cluster else {
            drop(head);
            return Err(Box::new(settings.cluster_not_found(stream, forward.cluster_not_found)));
        };
        *stream.info.upstream.cluster.borrow_mut() = Some(Arc::clone(cluster.info()));
        let has_envoy_headers = head.headers.keys().any(|name| name.as_str().starts_with("x-envoy-"));
        if has_envoy_headers
            && let Some((name, value)) = StrictHeader::find_malformed(&settings.strict_headers, &head)
        {
            drop(head);
            stream.info.set_flag(ResponseFlag::InvalidEnvoyRequestHeaders);
            let body = format!("invalid header '{name}' with value '{value}'");
            let details = format!("request_headers_failed_strict_check{{{name}}}");
            return Err(Box::new(local_reply(stream, StatusCode::BAD_REQUEST, &body, details)));
        }
        let options = Options::take(&mut head.headers, has_envoy_headers);
        let is_grpc = is_grpc(&head.headers);
        let timeouts = Timeouts::of_request(
            &route_timeouts(forward),
            &mut head.headers,
            has_envoy_headers,
            is_grpc,
            settings.respect_expected_rq_timeout,
        );
        timeouts.write(&mut head.headers, Duration::ZERO, settings.suppress_envoy_headers);
        let retries = RetryState::new(
            forward.retry_policy.as_ref(),
            route.stats.as_ref(),
            &mut head,
            has_envoy_headers,
            forward.high_priority,
            &|| stream.worker().server().runtime.snapshot(),
        );
        drop(head);
        stream.info.upstream.attempts.set(1);
        let own_limit = route.request_body_buffer_limit.unwrap_or(usize::MAX);
        let limit = stream.connection.buffer_limit.min(own_limit);
        let keep = retries.as_ref().filter(|retries| retries.enabled()).map(|_| limit);
        let info = cluster.info();
        let mut clock =
            Clock::new(timeouts, options.max_stream_duration.or_else(|| max_stream_duration(info)));
        let upgrade = stream.upgrade();
        if upgrade.as_ref().is_some_and(|kind| kind.eq_ignore_ascii_case("websocket")) {
            clock.begin_at_once();
        }
        Ok(Self {
            body: match upgrade {
                Some(_) => RequestBody::Endless,
                None => RequestBody::new(body, keep, &info.stats.retry_or_shadow_abandoned),
            },
            clock,
            settings: Arc::clone(settings),
            stream: Rc::clone(stream),
            cluster,
            timeouts,
            retries,
            attempt: 1,
            cookies: RefCell::default(),
            is_grpc,
            timeout_status: options.timeout_status,
            is_internal: options.is_internal,
            alternative_name: options.alternative_name,
            route,
        })
    }

    pub(crate) fn forward(&self) -> Option<&Forward> {
        self.route.forward()
    }

    /// What hash-based load balancing goes by.
    pub(crate) fn hash(&self, head: &RequestHead) -> Option<u64> {
        // As in Envoy, a cookie is only made for a load balancer that goes by it.
        let policy = self.forward()?.hash_policy.as_ref().filter(|_| self.cluster.info().balances_by_hash)?;
        let (info, connection) = (&self.stream.info, &self.stream.connection.info);
        let mut cookies = self.cookies.borrow_mut();
        cookies.clear();
        policy.hash(head, info, connection, |cookie| cookies.push(cookie))
    }

    /// Makes of the head what goes upstream; once, before a host is picked.
    pub(crate) fn finalize_head(&self) {
        let stream = &self.stream;
        let mut head = stream.request_mut();
        self.write_attempt(&mut head.headers);
        if stream.scheme_matches_upstream() {
            let transport = &self.cluster.info().transport_socket;
            let secure = transport.as_ref().is_some_and(|transport| transport.is_secure());
            head.scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
        }
        // Header values may be made of what is known of the stream, so nobody may hold it.
        self.route.finalize_request(&mut head, &stream.info, !self.settings.suppress_envoy_headers);
    }

    /// The next attempt begins.
    pub(crate) fn next_attempt(&mut self) {
        self.attempt += 1;
        self.stream.info.upstream.attempts.set(self.attempt);
        let elapsed = self.body.completed_at().map(|at| at.elapsed()).unwrap_or_default();
        let mut head = self.stream.request_mut();
        self.write_attempt(&mut head.headers);
        self.timeouts.write(&mut head.headers, elapsed, self.settings.suppress_envoy_headers);
    }

    fn write_attempt(&self, headers: &mut HeaderMap) {
        if self.route.virtual_host.include_request_attempt_count {
            headers.insert(ATTEMPT_COUNT, HeaderValue::from(self.attempt));
        }
    }

    /// What every answer gets from the moment on that the request may go upstream.
    pub(crate) fn modify_answer(&self, headers: &mut HeaderMap) {
        if self.route.virtual_host.include_attempt_count_in_response {
            headers.insert(ATTEMPT_COUNT, HeaderValue::from(self.attempt));
        }
    }

    /// Answers instead of the upstream.
    pub(crate) fn reply(
        &self,
        status: StatusCode,
        body: &str,
        details: impl Into<Cow<'static, str>>,
    ) -> Response {
        self.reply_with(status, body, details, |_| {})
    }

    /// The same, with headers of its own.
    pub(crate) fn reply_with(
        &self,
        status: StatusCode,
        body: &str,
        details: impl Into<Cow<'static, str>>,
        add: impl FnOnce(&mut HeaderMap),
    ) -> Response {
        local_reply_with_headers(&self.stream, status, body, details, |headers| {
            add(headers);
            self.modify_answer(headers);
        })
    }

    /// Counts an answer by its status.
    pub(crate) fn count(&self, status: StatusCode, host: Option<&Arc<Host>>, is_canary: bool) {
        if !self.settings.dynamic_stats {
            return;
        }
        if let Some(stats) = &self.route.stats {
            stats.count(status.as_u16(), self.is_grpc && self.settings.suppress_grpc_codes);
        }
        let stats = ResponseStats::of(self.cluster.info());
        stats.count(status.as_u16(), &self.answered(host, is_canary));
        if let Some(host) = host.filter(|_| status.is_server_error()) {
            add_one(&host.stats.rq_error);
        }
    }

    /// Notes how long the answer took, from the end of the request until now.
    pub(crate) fn record_time(&self, time: Duration, host: &Arc<Host>, is_canary: bool) {
        if self.settings.dynamic_stats {
            if let Some(stats) = &self.route.stats {
                stats.record_time(time);
            }
            ResponseStats::of(self.cluster.info()).record_time(time, &self.answered(Some(host), is_canary));
        }
    }

    /// Counts an answer that is not passed on, since the request is tried again.
    pub(crate) fn count_retried(&self, status: StatusCode) {
        let without_codes = self.is_grpc && self.settings.suppress_grpc_codes;
        ResponseStats::of(self.cluster.info()).count_retried(status.as_u16(), without_codes);
    }

    fn answered<'a>(&'a self, host: Option<&'a Arc<Host>>, is_canary: bool) -> Answered<'a> {
        Answered {
            internal: self.is_internal,
            canary: is_canary,
            from_zone: &self.settings.zone,
            to_zone: host.map_or("", |host| &host.locality.zone),
            without_codes: self.is_grpc && self.settings.suppress_grpc_codes,
            alternative_name: self.alternative_name.as_deref(),
        }
    }
}

/// What else headers of the request say to the router.
struct Options {
    is_internal: bool,
    alternative_name: Option<String>,
    max_stream_duration: Option<Duration>,
    timeout_status: StatusCode,
}

impl Options {
    /// Takes them out of the request; without `has_envoy_headers` there are none.
    fn take(headers: &mut HeaderMap, has_envoy_headers: bool) -> Self {
        if !has_envoy_headers {
            return Self {
                is_internal: false,
                alternative_name: None,
                max_stream_duration: None,
                timeout_status: StatusCode::GATEWAY_TIMEOUT,
            };
        }
        headers.remove(HEDGE);
        Self {
            is_internal: headers.get("x-envoy-internal").is_some_and(|value| value == "true"),
            alternative_name: headers
                .remove(ALT_STAT_NAME)
                .and_then(|name| Some(name.to_str().ok()?.trim_end_matches('.').to_owned())),
            max_stream_duration: headers.remove(STREAM_DURATION).as_ref().and_then(milliseconds),
            timeout_status: match headers.remove(TIMEOUT_ALT_RESPONSE) {
                Some(_) => StatusCode::NO_CONTENT,
                None => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }
}

fn route_timeouts(forward: &Forward) -> RouteTimeouts {
    let retry_policy = forward.retry_policy.as_deref();
    RouteTimeouts {
        global: forward.timeout,
        per_try: retry_policy.and_then(|policy| policy.per_try_timeout),
        per_try_idle: retry_policy.and_then(|policy| policy.per_try_idle_timeout),
        superseded: forward.max_stream_duration.is_some(),
        max_grpc: forward.max_grpc_timeout,
        grpc_offset: forward.grpc_timeout_offset,
    }
}

fn max_stream_duration(cluster: &ClusterInfo) -> Option<Duration> {
    cluster.protocol_options.get::<ClusterProtocolOptions>()?.common.max_stream_duration
}

/// Whether a request is gRPC, by its content type.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(http::header::CONTENT_TYPE) else { return false };
    let rest = kind.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

pub(crate) fn add_one(cell: &std::sync::atomic::AtomicU64) {
    cell.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}
