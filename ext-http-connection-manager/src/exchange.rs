//! One request and its answer: from the first byte to the entry in the access log.

mod deadlines;
mod report;

use std::{
    cell::{Cell, OnceCell, Ref, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tokio::time::Instant;
use underpass_core::{
    access_log::AccessLogType,
    stream_info::{SharedStreamInfo, StreamInfo},
};
use underpass_http::{
    Body, HttpStream, RequestHead, Response,
    local_reply::{local_reply, reply_without_request},
};

use self::deadlines::TimeUp;
use crate::{connection::ManagedConnection, log::LoggedAnswer, stats::count_answer, upgrade::Allowed};

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
        let now = Instant::from_std(info.start());
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

    fn set_details(&self, details: &'static str) {
        *self.info.details.response_code_details.borrow_mut() = Some(details.into());
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
            self.info.details.protocol.set(Some("HTTP/1.0"));
        }
        let http = Rc::clone(&self.connection.http);
        let stream = Rc::new(HttpStream::new(http, Rc::clone(&self.info), head));
        stream.set_routes(self.connection.settings.routes.current());
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
