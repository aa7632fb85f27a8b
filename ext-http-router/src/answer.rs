//! The head of an upstream's answer, on its way to the client.

use std::{rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use tokio::time::Instant;
use underpass_core::{
    cluster::{Host, Outcome, UpstreamConnection},
    io::BoxIo,
};
use underpass_http::{Body, Response, upstream::InterimAnswers};

use crate::{
    answer_body::AnswerBody,
    filter::finalize,
    request::{Request, add_one},
    retry_on::grpc_status,
    tunnel,
    upstream_log::AttemptLog,
};

static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// An answer of which the head is there.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) way: Way,
    pub(crate) host: Arc<Host>,
    pub(crate) log: Option<Rc<AttemptLog>>,
}

/// How the bytes behind the head go.
pub(crate) enum Way {
    /// As a body.
    Http,
    /// Raw, both ways, by a connection or stream of a pool.
    Tunnel(BoxIo),
    /// Raw, both ways, by a connection of their own.
    Connection(Box<UpstreamConnection>),
}

impl Way {
    pub(crate) fn of(io: Option<BoxIo>) -> Self {
        io.map_or(Self::Http, Self::Tunnel)
    }
}

/// What has to be known of an answer until it is complete.
pub(crate) struct Answered {
    pub(crate) host: Arc<Host>,
    pub(crate) is_canary: bool,
    /// Whether the answer was good is known by its trailers only.
    pub(crate) awaits_grpc_status: bool,
    pub(crate) log: Option<Rc<AttemptLog>>,
}

impl Answer {
    /// The request is tried again.
    pub(crate) fn discard(self, request: &Request) {
        let status = self.response.status();
        self.note_head(request);
        request.count_retried(status);
        add_one(&self.host.stats.rq_error);
    }

    fn note_head(&self, request: &Request) {
        let status = self.response.status();
        let status = grpc_status(self.response.headers())
            .filter(|_| request.is_grpc)
            .map_or(status.as_u16(), grpc_to_http_status);
        self.host.report(Outcome::Status(status));
        if let Some(log) = &self.log {
            log.answered(self.response.status(), self.response.headers());
        }
    }

    /// Makes of it the answer to the client.
    pub(crate) fn pass_on(self, mut request: Request) -> Response {
        let now = Instant::now();
        request.retries = None;
        request.body.forget();
        self.note_head(&request);
        let Self { mut response, way, host, log } = self;
        let stream = Rc::clone(&request.stream);
        let info = &stream.info;
        info.upstream.details.first_byte_received.set(Some(now.into_std()));
        if !request.settings.suppress_envoy_headers
            && let Some(complete) = request.body.completed_at()
            && !matches!(way, Way::Tunnel(_) | Way::Connection(_))
        {
            let time = now.saturating_duration_since(complete).as_millis();
            response.headers_mut().insert(SERVICE_TIME.clone(), number(time));
        }
        request.modify_answer(response.headers_mut());
        if let Some(InterimAnswers(statuses)) = response.extensions_mut().remove() {
            statuses.into_iter().for_each(|status| request.count(status, Some(&host), false));
        }
        let status = response.status();
        let is_canary = host.is_canary() || is_marked_as_canary(response.headers());
        request.count(status, Some(&host), is_canary);
        let awaits_grpc_status = !status.is_server_error()
            && judge(&host, request.is_grpc, response.headers(), response.body().is_end_stream());
        for cookie in request.cookies.take() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        info.response_code.set(Some(status.as_u16()));
        *info.details.response_code_details.borrow_mut() = Some("via_upstream".into());
        finalize(&request.route, &stream, &mut response);
        let answered = Answered { host, is_canary, awaits_grpc_status, log };
        response.map(|body| match way {
            Way::Http => AnswerBody::around(body, request, answered),
            Way::Tunnel(io) => tunnel::by_stream(io, request, answered),
            Way::Connection(connection) => tunnel::by_connection(*connection, request, answered),
        })
    }
}

/// Counts the answer for its host, unless that has to wait for the trailers.
fn judge(host: &Host, is_grpc: bool, headers: &HeaderMap, is_complete: bool) -> bool {
    if !is_grpc {
        add_one(&host.stats.rq_success);
        return false;
    }
    if !is_complete {
        return true;
    }
    judge_grpc(host, headers);
    false
}

/// Counts a complete answer to a gRPC request for its host, by the headers or trailers that end it.
pub(crate) fn judge_grpc(host: &Host, last: &HeaderMap) {
    let is_good = grpc_status(last).is_some_and(|status| grpc_to_http_status(status) < 500);
    add_one(if is_good { &host.stats.rq_success } else { &host.stats.rq_error });
}

fn is_marked_as_canary(headers: &HeaderMap) -> bool {
    headers.get("x-envoy-upstream-canary").is_some_and(|value| value == "true")
}

/// A number as header value; the usual ones need no memory.
fn number(number: u128) -> HeaderValue {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    match usize::try_from(number).ok().and_then(|number| SMALL.get(number)) {
        Some(text) => HeaderValue::from_static(text),
        None => HeaderValue::from(u64::try_from(number).unwrap_or(u64::MAX)),
    }
}

/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>, as Envoy's `grpcToHttpStatus`.
fn grpc_to_http_status(status: u32) -> u16 {
    let status = match status {
        0 => StatusCode::OK,
        1 => return 499,
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    status.as_u16()
}

/// The body of an answer that has none.
pub(crate) fn no_body() -> Response {
    Response::new(Body::empty())
}
