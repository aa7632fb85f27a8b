//! One request and its answer: from the first byte to the entry in the access log.

use std::{
    cell::{Cell, OnceCell, Ref, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tokio::time::Instant;
use underpass_core::{
    access_log::AccessLogType,
    connection::BoxFuture,
    response_flags::ResponseFlag,
    stream_info::{SharedStreamInfo, StreamInfo},
};
use underpass_http::{
    Body, HttpStream, RequestHead, Response,
    downstream::{self, DownstreamReset, Refusal},
    local_reply::{local_reply, reply_without_request},
};

use crate::{connection::ManagedConnection, log::LoggedAnswer, reply, stats::count_answer, upgrade::Allowed};

/// One request and its answer.
pub(crate) struct Exchange {
    connection: Rc<ManagedConnection>,
    key: Cell<usize>,
    info: SharedStreamInfo,
    stream: OnceCell<Rc<HttpStream>>,
    started: Instant,
    last_activity: Cell<Instant>,
    /// How long it may be silent.
    idle_timeout: Cell<Option<Duration>>,
    /// When it has lasted long enough.
    ends_at: Cell<Option<Instant>>,
    time_up: Cell<Option<TimeUp>>,
    /// When it is logged next (`access_log_flush_interval`).
    logs_at: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
    state: Cell<State>,
    /// An upgrade or a CONNECT, while it is open.
    is_upgrade: Cell<bool>,
    /// It goes on as raw bytes.
    is_tunnel: Cell<bool>,
    answer: RefCell<LoggedAnswer>,
}

/// How far an exchange is.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    head_complete: bool,
    request_complete: bool,
    response_started: bool,
    response_complete: bool,
    reset: bool,
    /// The client has said that it will not send another request on this connection.
    last_request: bool,
}

/// Which of its times is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeUp {
    Headers,
    Request,
    Idle,
    Duration,
}

impl Exchange {
    pub(crate) fn begin(connection: &Rc<ManagedConnection>) -> Rc<Self> {
        let settings = &connection.settings;
        let info = connection.http.info.for_request();
        settings.stats.downstream_rq_total.inc();
        settings.stats.downstream_rq_active.inc();
        if connection.is_http2() {
            settings.stats.downstream_rq_http2_total.inc();
        } else {
            settings.stats.downstream_rq_http1_total.inc();
        }
        let now = Instant::from_std(info.start);
        let exchange = Rc::new(Self {
            connection: Rc::clone(connection),
            key: Cell::new(0),
            info: Rc::new(info),
            stream: OnceCell::new(),
            started: now,
            last_activity: Cell::new(now),
            idle_timeout: Cell::new(settings.stream_idle_timeout),
            ends_at: Cell::new(settings.common.max_stream_duration.map(|duration| now + duration)),
            time_up: Cell::new(None),
            logs_at: Cell::new(settings.log_options.access_log_flush_interval.map(|interval| now + interval)),
            waker: RefCell::default(),
            state: Cell::default(),
            is_upgrade: Cell::new(false),
            is_tunnel: Cell::new(false),
            answer: RefCell::default(),
        });
        exchange.key.set(connection.enter(&exchange));
        exchange.watch_deadline();
        exchange
    }

    pub(crate) fn connection(&self) -> &ManagedConnection {
        &self.connection
    }

    pub(crate) fn info(&self) -> &StreamInfo {
        &self.info
    }

    pub(crate) fn stream(&self) -> Option<&Rc<HttpStream>> {
        self.stream.get()
    }

    pub(crate) fn logged_answer(&self) -> Ref<'_, LoggedAnswer> {
        self.answer.borrow()
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.get();
        change(&mut state);
        self.state.set(state);
    }

    /// Something happens: the stream is not idle.
    fn touch(&self) {
        if self.idle_timeout.get().is_some() {
            self.last_activity.set(Instant::now());
        }
    }

    /// When something last happened. A tunnel, which nobody here sees, notes when its bytes move.
    fn last_active(&self) -> Instant {
        let tunnel = [self.info.last_byte_received.get(), self.info.last_byte_sent.get()];
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

    fn watch_deadline(&self) {
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

    fn poll_time_up(&self, cx: &mut Context<'_>) -> Poll<TimeUp> {
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
    fn time_is_up(&self, what: TimeUp) -> (StatusCode, &'static str, &'static str) {
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

    fn set_details(&self, details: &'static str) {
        *self.info.response_code_details.borrow_mut() = Some(details.into());
    }

    /// An upgrade or a CONNECT begins.
    pub(crate) fn upgrade_starts(&self) {
        let stats = &self.connection.settings.stats;
        stats.downstream_cx_upgrades_total.inc();
        stats.downstream_cx_upgrades_active.inc();
        self.is_upgrade.set(true);
    }

    async fn run(&self, head: RequestHead, body: Body) -> Response {
        self.update(|state| state.head_complete = true);
        self.touch();
        if head.version == Version::HTTP_10 {
            self.info.protocol.set(Some("HTTP/1.0"));
        }
        let http = Rc::clone(&self.connection.http);
        let stream = Rc::new(HttpStream::new(http, Rc::clone(&self.info), head));
        stream.set_routes(Arc::clone(&self.connection.settings.routes));
        if let Some(replies) = &self.connection.settings.local_replies {
            stream.set_local_replies(Arc::clone(replies));
        }
        let stream = self.stream.get_or_init(|| stream);
        let response = match self.prepare(stream) {
            Ok(()) => self.filtered(stream, body).await,
            Err(refused) => refused,
        };
        self.finish(stream, response)
    }

    /// Runs a request through the filters.
    async fn filtered(&self, stream: &Rc<HttpStream>, body: Body) -> Response {
        let settings = &self.connection.settings;
        let route = stream.route();
        if let Some(forward) = route.as_ref().and_then(|route| route.forward()) {
            if let Some(timeout) = forward.idle_timeout {
                self.idle_timeout.set((!timeout.is_zero()).then_some(timeout));
            }
            let of_manager = settings.common.max_stream_duration;
            let duration = forward.stream_duration(&mut stream.request_mut(), of_manager);
            self.ends_at.set(duration.map(|duration| self.started + duration));
            self.watch_deadline();
        }
        if settings.log_options.flush_access_log_on_new_request {
            self.log(AccessLogType::DownstreamStart);
        }
        let chain = match self.allow_upgrade(stream) {
            Ok(Allowed::Yes(_, Some(filters))) => filters,
            Ok(_) => &settings.filters,
            Err(refused) => return refused,
        };
        let next =
            || chain.start(|name| route.as_ref().and_then(|route| route.filter_configs.disabled(name)));
        let mut running = next().run(stream, body);
        let outcome = poll_fn(|cx| match running.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Ok(response)),
            Poll::Pending => self.poll_time_up(cx).map(Err),
        });
        match outcome.await {
            Ok(response) => response,
            Err(time_up) => {
                drop(running);
                let (status, text, details) = self.time_is_up(time_up);
                self.idle_timeout.set(None);
                self.ends_at.set(None);
                self.time_up.set(None);
                next().reply(stream, local_reply(stream, status, text, details))
            }
        }
    }

    /// What every answer gets before it is sent.
    fn finish(&self, stream: &HttpStream, mut response: Response) -> Response {
        let status = response.status();
        self.info.response_code.set(Some(status.as_u16()));
        let is_tunnel = response.body().is_tunnel();
        self.is_tunnel.set(is_tunnel);
        let keeps_upgrade = is_tunnel && status == StatusCode::SWITCHING_PROTOCOLS;
        self.dress(response.headers_mut(), keeps_upgrade, Some(&stream.request()));
        let drains = self.connection.closes_after_this();
        let state = self.state.get();
        let last = drains || stream.closes_after_answer() || state.last_request || !state.request_complete;
        // HTTP/2 says goodbye by itself, and what follows an upgrade is no HTTP.
        if last && !self.connection.is_http2() && !is_tunnel {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if stream.request().version == Version::HTTP_10 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        self.response_starts(&response);
        response
    }

    fn dress(&self, headers: &mut HeaderMap, keeps_upgrade: bool, request: Option<&RequestHead>) {
        if !headers.contains_key(header::DATE) {
            headers.insert(header::DATE, self.connection.dates.now());
        }
        self.connection.settings.response_headers.apply(headers, keeps_upgrade, request);
    }

    /// An answer to what is no request of a filter's.
    fn plain(&self, status: StatusCode, body: &str) -> Response {
        let replies = self.connection.settings.local_replies.as_deref();
        reply_without_request(&self.info, replies, status, body)
    }

    fn response_starts(&self, response: &Response) {
        let settings = &self.connection.settings;
        self.update(|state| state.response_started = true);
        if !self.state.get().request_complete {
            settings.stats.downstream_rq_response_before_rq_complete.inc();
        }
        // As in Envoy, answers to health checks are not counted as answers.
        if self.info.health_check.get() {
            settings.health_checks.inc();
        } else {
            count_answer(&settings.stats, &settings.listener_stats, response.status().as_u16());
        }
        if !settings.logs.is_empty() {
            self.answer.borrow_mut().head = Some((response.status(), response.headers().clone()));
        }
        self.touch();
    }
}

impl downstream::Exchange for Exchange {
    fn serve(&self, head: RequestHead, body: Body) -> BoxFuture<'_, Response> {
        Box::pin(self.run(head, body))
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        let Refusal { status, details } = refusal;
        let settings = &self.connection.settings;
        self.set_details(details);
        self.info.response_code.set(Some(status.as_u16()));
        let mut response = if details == PATH_NORMALIZATION_FAILED {
            settings.stats.downstream_rq_failed_path_normalization.inc();
            self.plain(status, "")
        } else {
            settings.stats.downstream_cx_protocol_error.inc();
            self.info.set_flag(ResponseFlag::DownstreamProtocolError);
            self.plain(status, reply::refusal_text(status))
        };
        self.dress(response.headers_mut(), false, None);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        self.response_starts(&response);
        response
    }

    fn last_request(&self) {
        self.update(|state| state.last_request = true);
    }

    fn continued(&self) {
        let settings = &self.connection.settings;
        self.info.response_code.set(Some(100));
        count_answer(&settings.stats, &settings.listener_stats, 100);
    }

    fn head_received(&self, bytes: usize) {
        self.info.header_bytes.0.set(bytes as u64);
    }

    fn data_received(&self, bytes: usize) {
        self.info.bytes_received.set(self.info.bytes_received.get() + bytes as u64);
        self.touch();
    }

    fn request_complete(&self) {
        if self.state.get().request_complete {
            return;
        }
        self.update(|state| state.request_complete = true);
        self.info.last_byte_received.set(Some(std::time::Instant::now()));
    }

    fn head_sent(&self, bytes: usize) {
        self.info.header_bytes.1.set(bytes as u64);
        self.info.first_byte_sent.set(Some(std::time::Instant::now()));
        if self.is_tunnel.get()
            && self.connection.settings.log_options.flush_log_on_tunnel_successfully_established
        {
            self.log(AccessLogType::DownstreamTunnelSuccessfullyEstablished);
        }
    }

    fn data_sent(&self, bytes: usize) {
        self.info.bytes_sent.set(self.info.bytes_sent.get() + bytes as u64);
        self.touch();
    }

    fn trailers_sent(&self, trailers: &HeaderMap) {
        if !self.connection.settings.logs.is_empty() {
            self.answer.borrow_mut().trailers = Some(trailers.clone());
        }
    }

    fn response_complete(&self) {
        self.update(|state| state.response_complete = true);
        self.info.last_byte_sent.set(Some(std::time::Instant::now()));
        if !self.state.get().request_complete {
            // What is still to come of the request is reset.
            let settings = &self.connection.settings;
            settings.stats.downstream_rq_rx_reset.inc();
            if self.connection.is_http2() && !self.is_tunnel.get() {
                settings.codec.stats.http2.tx_reset.inc();
            }
        }
        let flags = self.info.flags.get();
        if self.is_upgrade.get() && flags.contains(ResponseFlag::DownstreamConnectionTermination) {
            // Its tunnel has found out.
            self.connection.client_closed();
        }
        if self.is_upgrade.get() && flags.contains(ResponseFlag::DownstreamRemoteReset) {
            self.connection.settings.codec.stats.http2.rx_reset.inc();
        }
    }

    fn reset(&self, reason: DownstreamReset) {
        if self.state.get().reset || self.state.get().response_complete {
            return;
        }
        self.update(|state| state.reset = true);
        let stats = &self.connection.settings.stats;
        stats.downstream_rq_rx_reset.inc();
        match reason {
            DownstreamReset::Disconnected => {
                self.info.set_flag(ResponseFlag::DownstreamConnectionTermination);
                self.set_details("downstream_remote_disconnect");
            }
            DownstreamReset::StreamReset => {
                self.info.set_flag(ResponseFlag::DownstreamRemoteReset);
                self.set_details("http2.remote_reset");
            }
            DownstreamReset::ProtocolError(details) => {
                stats.downstream_cx_protocol_error.inc();
                self.info.set_flag(ResponseFlag::DownstreamProtocolError);
                self.set_details(details);
            }
            DownstreamReset::Refused(details) => {
                self.info.set_flag(ResponseFlag::DownstreamRemoteReset);
                self.set_details(details);
            }
            DownstreamReset::Local => stats.downstream_rq_tx_reset.inc(),
        }
    }

    fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Option<Response>> {
        self.poll_time_up(cx).map(|what| {
            let (status, text, details) = self.time_is_up(what);
            self.set_details(details);
            if self.state.get().response_started {
                return None;
            }
            self.info.response_code.set(Some(status.as_u16()));
            let mut response = self.plain(status, text);
            self.dress(response.headers_mut(), false, None);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            self.response_starts(&response);
            Some(response)
        })
    }
}

/// The details of a path that cannot be put in order.
const PATH_NORMALIZATION_FAILED: &str = "path_normalization_failed";

impl Drop for Exchange {
    fn drop(&mut self) {
        let state = self.state.get();
        let stats = &self.connection.settings.stats;
        if !state.response_complete && !state.reset {
            // The connection's future was dropped: this proxy ends it.
            self.info.set_flag(ResponseFlag::DownstreamConnectionTermination);
            self.set_details("downstream_local_disconnect");
            stats.downstream_rq_rx_reset.inc();
            self.connection.dropped_with_request();
        }
        stats.downstream_rq_active.dec();
        if self.is_upgrade.get() {
            stats.downstream_cx_upgrades_active.dec();
        }
        if self.connection.is_http2() {
            let soon = self.started.elapsed() <= self.connection.settings.premature_lifetime;
            self.connection.count_end(soon && state.reset && !state.response_started);
        }
        self.info.complete();
        let took = self.info.duration().as_millis();
        stats.downstream_rq_time.record(u64::try_from(took).unwrap_or(u64::MAX));
        if let Some(stream) = self.stream().filter(|_| !self.connection.settings.logs.is_empty()) {
            stream.note_cluster();
        }
        self.log(AccessLogType::DownstreamEnd);
        self.connection.leave(self.key.get());
    }
}
