//! Attempts without an answer, and what the client is told.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, StatusCode};
use underpass_core::{
    cluster::{Host, Outcome},
    response_flags::ResponseFlag,
};
use underpass_http::{
    Response,
    reset::{ResetReason, StreamReset},
};

use crate::{
    clock::TimeUp,
    request::{Request, add_one},
    upstream_log::AttemptLog,
};

/// An attempt without an answer.
pub(crate) struct Failure {
    pub(crate) what: What,
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) log: Option<Rc<AttemptLog>>,
}

/// What went wrong.
pub(crate) enum What {
    /// There was no connection, or the stream on it broke off.
    Reset { reset: StreamReset, request_was_sent: bool },
    /// Time was up.
    TimeUp(TimeUp),
}

impl TimeUp {
    /// Whether another attempt may follow.
    pub(crate) fn ends_attempt_only(self) -> bool {
        self != Self::Global
    }

    /// Notes in the stats that it is up.
    pub(crate) fn count(self, request: &Request, host: Option<&Arc<Host>>) {
        let stats = &request.cluster.info().stats;
        match self {
            Self::Global => {
                stats.upstream_rq_timeout.inc();
                if let Some(stats) = &request.route.stats {
                    stats.counters.upstream_rq_timeout.inc();
                }
            }
            Self::PerTry => stats.upstream_rq_per_try_timeout.inc(),
            Self::PerTryIdle => stats.upstream_rq_per_try_idle_timeout.inc(),
            Self::MaxStreamDuration => stats.upstream_rq_max_duration_reached.inc(),
        }
        if let Some(host) = host.filter(|_| self != Self::MaxStreamDuration) {
            add_one(&host.stats.rq_timeout);
            host.report(Outcome::RequestFailed);
        }
    }

    /// `%RESPONSE_CODE_DETAILS%`.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::Global => "response_timeout",
            Self::PerTry => "upstream_per_try_timeout",
            Self::PerTryIdle => "upstream_per_try_idle_timeout",
            Self::MaxStreamDuration => "upstream_max_stream_duration_reached",
        }
    }

    /// The flag of the request that it ends.
    pub(crate) fn flag(self) -> ResponseFlag {
        match self {
            Self::MaxStreamDuration => ResponseFlag::UpstreamMaxStreamDurationReached,
            Self::Global | Self::PerTry | Self::PerTryIdle => ResponseFlag::UpstreamRequestTimeout,
        }
    }

    /// The flag of the attempt that it ends.
    pub(crate) fn attempt_flag(self) -> Option<ResponseFlag> {
        match self {
            Self::PerTry => Some(ResponseFlag::UpstreamRequestTimeout),
            Self::PerTryIdle => Some(ResponseFlag::StreamIdleTimeout),
            Self::Global | Self::MaxStreamDuration => None,
        }
    }
}

impl Failure {
    /// Notes in stats and in the attempt's log what went wrong.
    pub(crate) fn count(&self, request: &Request) {
        let flag = match &self.what {
            What::Reset { reset, request_was_sent } => {
                // Who could not connect was told of by the pool.
                if let Some(host) = self.host.as_ref().filter(|_| *request_was_sent) {
                    host.report(Outcome::RequestFailed);
                }
                Some(flag(reset.reason))
            }
            What::TimeUp(time) => {
                time.count(request, self.host.as_ref());
                time.attempt_flag()
            }
        };
        if let (Some(log), Some(flag)) = (&self.log, flag) {
            log.set_flag(flag);
        }
    }

    /// Answers instead of the upstream.
    pub(crate) fn reply(self, request: &Request) -> Response {
        match self.what {
            What::Reset { reset, .. } => reset_reply(request, &reset, self.host.as_ref()),
            What::TimeUp(TimeUp::MaxStreamDuration) => {
                let status = match request.body.completed_at() {
                    Some(_) => StatusCode::GATEWAY_TIMEOUT,
                    None => StatusCode::REQUEST_TIMEOUT,
                };
                let time = TimeUp::MaxStreamDuration;
                request.stream.info.set_flag(time.flag());
                request.reply(status, "upstream max stream duration reached", time.details())
            }
            What::TimeUp(time) => {
                let status = request.timeout_status;
                request.count(status, self.host.as_ref(), false);
                if let Some(host) = self.host.filter(|_| !status.is_server_error()) {
                    add_one(&host.stats.rq_error);
                }
                timed_out(request, time.details())
            }
        }
    }
}

fn reset_reply(request: &Request, reset: &StreamReset, host: Option<&Arc<Host>>) -> Response {
    let status = match reset.reason {
        ResetReason::ProtocolError => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    if let Some(refusal) = &reset.refusal
        && let Ok(status) = StatusCode::from_u16(refusal.status)
        && (status.is_client_error() || status.is_server_error())
    {
        return refused_tunnel(request, reset, status, host);
    }
    request.count(status, host, false);
    request.stream.info.set_flag(flag(reset.reason));
    let retried = if request.attempt > 1 { "retried and the latest " } else { "" };
    let body = format!(
        "upstream connect error or disconnect/reset before headers. {retried}reset reason: {}",
        reset.reason
    );
    let overloaded = reset.reason == ResetReason::Overflow && !request.settings.suppress_envoy_headers;
    request.reply_with(status, &body, details("upstream_reset_before_response_started", reset), |headers| {
        if overloaded {
            headers.insert("x-envoy-overloaded", HeaderValue::from_static("true"));
        }
    })
}

/// The upstream is an internal listener, whose tunnel to the next proxy was refused: the client gets that proxy's status.
fn refused_tunnel(
    request: &Request,
    reset: &StreamReset,
    status: StatusCode,
    host: Option<&Arc<Host>>,
) -> Response {
    request.count(status, host, false);
    request.stream.info.set_flag(flag(reset.reason));
    let body =
        format!("the proxy on the way to the upstream refused the tunnel with status {}", status.as_u16());
    request.reply(status, &body, details("upstream_reset_before_response_started", reset))
}

/// `upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}`.
pub(crate) fn details(what: &str, reset: &StreamReset) -> String {
    let reason = reset.reason.details();
    match &reset.transport_failure_reason {
        Some(why) => format!("{what}{{{reason}|{}}}", why.replace(char::is_whitespace, "_")),
        None => format!("{what}{{{reason}}}"),
    }
}

/// Answers that time is up.
pub(crate) fn timed_out(request: &Request, details: &'static str) -> Response {
    request.stream.info.set_flag(ResponseFlag::UpstreamRequestTimeout);
    let status = request.timeout_status;
    let body = if status == StatusCode::GATEWAY_TIMEOUT { "upstream request timeout" } else { "" };
    request.reply(status, body, details)
}

/// Answers that there is no host.
pub(crate) fn no_healthy_upstream(request: &Request) -> Response {
    request.stream.info.set_flag(ResponseFlag::NoHealthyUpstream);
    request.count(StatusCode::SERVICE_UNAVAILABLE, None, false);
    request.reply(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream", "no_healthy_upstream")
}

/// The flag of a reset.
pub(crate) fn flag(reason: ResetReason) -> ResponseFlag {
    match reason {
        ResetReason::LocalConnectionFailure
        | ResetReason::RemoteConnectionFailure
        | ResetReason::ConnectionTimeout => ResponseFlag::UpstreamConnectionFailure,
        ResetReason::ConnectionTermination => ResponseFlag::UpstreamConnectionTermination,
        ResetReason::LocalReset | ResetReason::LocalRefusedStreamReset => ResponseFlag::LocalReset,
        ResetReason::Overflow => ResponseFlag::UpstreamOverflow,
        ResetReason::RemoteReset | ResetReason::RemoteRefusedStreamReset | ResetReason::ConnectError => {
            ResponseFlag::UpstreamRemoteReset
        }
        ResetReason::ProtocolError => ResponseFlag::UpstreamProtocolError,
    }
}
