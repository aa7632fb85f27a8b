//! How long an exchange may take, and what happens when its time is up.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;
use underpass_core::{access_log::AccessLogType, response_flags::ResponseFlag};

use super::Exchange;

/// Which of its times is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUp {
    Headers,
    Request,
    Idle,
    Duration,
}

impl Exchange {
    /// When something last happened. A tunnel, which nobody here sees, notes when its bytes move.
    fn last_active(&self) -> Instant {
        let tunnel = [self.info.details.last_byte_received.get(), self.info.details.last_byte_sent.get()];
        tunnel.into_iter().flatten().map(Instant::from).fold(self.last_activity.get(), Instant::max)
    }

    /// The next of its deadlines.
    fn deadline(&self) -> Option<(Instant, TimeUp)> {
        let settings = &self.connection.settings;
        let state = self.state.get();
        let since_start = |limit: Option<Duration>| limit.map(|limit| self.started + limit);
        let headers = since_start(settings.request_headers_timeout.filter(|_| !state.head_complete));
        let request = since_start(
            settings.request_timeout.filter(|_| !state.request_complete && !self.is_upgrade.get()),
        );
        let idle = self.idle_timeout.get().map(|limit| self.last_active() + limit);
        let all = [
            (headers, TimeUp::Headers),
            (request, TimeUp::Request),
            (idle, TimeUp::Idle),
            (self.ends_at.get(), TimeUp::Duration),
        ];
        all.into_iter().filter_map(|(at, what)| Some((at?, what))).min_by_key(|(at, _)| *at)
    }

    pub(super) fn watch_deadline(&self) {
        for at in [self.deadline().map(|(at, _)| at), self.logs_at.get()].into_iter().flatten() {
            self.connection.look_at_latest(at);
        }
    }

    /// Logs it if it is time, and says when it will be again.
    fn log_periodically(&self, now: Instant) -> Option<Instant> {
        let at = self.logs_at.get()?;
        if at > now {
            return Some(at);
        }
        self.log(AccessLogType::DownstreamPeriodic);
        let next =
            self.connection.settings.log_options.access_log_flush_interval.map(|interval| at + interval);
        self.logs_at.set(next);
        next
    }

    /// Notes whether its time is up, and says when to look again.
    pub(crate) fn look_at(&self, now: Instant) -> Option<Instant> {
        let logs_at = self.log_periodically(now);
        let expires_at = self.look_at_deadlines(now);
        logs_at.into_iter().chain(expires_at).min()
    }

    fn look_at_deadlines(&self, now: Instant) -> Option<Instant> {
        if self.time_up.get().is_some() {
            return None;
        }
        let (at, what) = self.deadline()?;
        if at > now {
            return Some(at);
        }
        self.time_up.set(Some(what));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        None
    }

    pub(super) fn poll_time_up(&self, cx: &mut Context<'_>) -> Poll<TimeUp> {
        // On HTTP/2 the connection looks at the deadlines of all its streams.
        if !self.connection.is_http2() {
            self.connection.poll_deadlines(cx);
        }
        if let Some(what) = self.time_up.get() {
            return Poll::Ready(what);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Counts that time is up, and says what the answer is.
    pub(super) fn time_is_up(&self, what: TimeUp) -> (StatusCode, &'static str, &'static str) {
        let stats = &self.connection.settings.stats;
        // Envoy's `maybeRequestTimeoutCode`: a request that is complete waits for somebody else.
        let by_request = if self.state.get().request_complete {
            StatusCode::GATEWAY_TIMEOUT
        } else {
            StatusCode::REQUEST_TIMEOUT
        };
        match what {
            TimeUp::Headers => {
                stats.downstream_rq_header_timeout.inc();
                (StatusCode::REQUEST_TIMEOUT, "request header timeout", "request_header_timeout")
            }
            TimeUp::Request => {
                stats.downstream_rq_timeout.inc();
                (StatusCode::REQUEST_TIMEOUT, "request timeout", "request_overall_timeout")
            }
            TimeUp::Idle => {
                stats.downstream_rq_idle_timeout.inc();
                self.info.set_flag(ResponseFlag::StreamIdleTimeout);
                (by_request, "stream timeout", "stream_idle_timeout")
            }
            TimeUp::Duration => {
                stats.downstream_rq_max_duration_reached.inc();
                (by_request, "downstream duration timeout", "max_duration_timeout")
            }
        }
    }
}
