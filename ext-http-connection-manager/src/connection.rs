//! A connection: which requests are open on it, how long it may live, how it ends.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll},
};

use slab::Slab;
use tokio::time::Instant;
use underpass_core::{
    connection::BoxFuture,
    drain::{DrainState, DrainWatch},
    stream_info::SharedStreamInfo,
    worker::Worker,
};
use underpass_http::{
    HttpConnection,
    downstream::{Closing, RequestHandler},
};

use crate::{exchange::Exchange, reply::DateCache, settings::Settings, timer::LazyTimer};

/// A connection, as its requests see it.
pub(crate) struct ManagedConnection {
    pub(crate) settings: Arc<Settings>,
    pub(crate) http: Rc<HttpConnection>,
    pub(crate) dates: Rc<DateCache>,
    /// Whether it speaks HTTP/2; none as long as that is not clear.
    http2: Cell<Option<bool>>,
    exchanges: RefCell<Slab<Weak<Exchange>>>,
    requests: Cell<u32>,
    started: Instant,
    idle_since: Cell<Instant>,
    /// When it has lasted long enough (`max_connection_duration`).
    lifetime_ends: Option<Instant>,
    drain: Cell<Drain>,
    listener_drains: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    timer: RefCell<LazyTimer>,
    /// The earliest moment at which something may have to happen.
    look_at: Cell<Option<Instant>>,
    client_closed: Cell<bool>,
    /// Requests that have ended, and those of them that their clients had reset soon.
    finished: Cell<(u64, u64)>,
    closes_now: Cell<bool>,
    dropped_with_request: Cell<bool>,
}

/// How far the connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// No further request is asked for.
    Until(Instant),
    /// It ends as soon as no request is open.
    Over,
}

impl ManagedConnection {
    pub(crate) fn new(
        settings: &Arc<Settings>,
        info: SharedStreamInfo,
        worker: Rc<Worker>,
        drain: DrainWatch,
        buffer_limit: usize,
    ) -> Self {
        let stats = &settings.stats;
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        let now = Instant::now();
        let lifetime = settings.common.connection_lifetime();
        let mut listener_drains = drain.clone();
        let connection = Self {
            dates: worker.slots().get_or_insert_with(DateCache::default),
            http: Rc::new(HttpConnection { info, worker, drain, buffer_limit }),
            settings: Arc::clone(settings),
            http2: Cell::new(None),
            exchanges: RefCell::default(),
            requests: Cell::new(0),
            started: now,
            idle_since: Cell::new(now),
            lifetime_ends: lifetime.map(|lifetime| now + lifetime),
            drain: Cell::new(Drain::No),
            listener_drains: RefCell::new(Some(Box::pin(async move {
                listener_drains.reached(DrainState::Draining).await;
            }) as BoxFuture<'static, ()>)),
            timer: RefCell::default(),
            look_at: Cell::new(None),
            client_closed: Cell::new(false),
            finished: Cell::default(),
            closes_now: Cell::new(false),
            dropped_with_request: Cell::new(false),
        };
        connection.look_again();
        connection
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.get() == Some(true)
    }

    /// An exchange begins; the key leads back to it.
    pub(crate) fn enter(&self, exchange: &Rc<Exchange>) -> usize {
        self.requests.set(self.requests.get() + 1);
        self.exchanges.borrow_mut().insert(Rc::downgrade(exchange))
    }

    /// An exchange ends.
    pub(crate) fn leave(&self, key: usize) {
        let idle = {
            let mut exchanges = self.exchanges.borrow_mut();
            exchanges.try_remove(key);
            exchanges.is_empty()
        };
        if idle {
            let now = Instant::now();
            self.idle_since.set(now);
            if let Some(timeout) = self.settings.common.idle_timeout {
                self.look_at_latest(now + timeout);
            }
        }
    }

    /// Makes sure that deadlines are looked at no later than this.
    pub(crate) fn look_at_latest(&self, moment: Instant) {
        if self.look_at.get().is_none_or(|at| moment < at) {
            self.look_at.set(Some(moment));
        }
    }

    /// Looks at the deadlines of the connection and its exchanges.
    pub(crate) fn poll_deadlines(&self, cx: &mut Context<'_>) {
        while self.timer.borrow_mut().poll(self.look_at.get(), cx).is_ready() {
            self.look_again();
        }
    }

    /// Does what is due, and finds out when to look again.
    fn look_again(&self) {
        self.look_at.set(None);
        let now = Instant::now();
        let exchanges: Vec<Rc<Exchange>> =
            self.exchanges.borrow().iter().filter_map(|(_, exchange)| exchange.upgrade()).collect();
        for exchange in &exchanges {
            if let Some(later) = exchange.look_at(now) {
                self.look_at_latest(later);
            }
        }
        if self.drain.get() == Drain::No {
            let idle = self.settings.common.idle_timeout.filter(|_| exchanges.is_empty());
            let idle_ends = idle.map(|timeout| self.idle_since.get() + timeout);
            let stats = &self.settings.stats;
            for (ends, counter) in [
                (idle_ends, &stats.downstream_cx_idle_timeout),
                (self.lifetime_ends, &stats.downstream_cx_max_duration_reached),
            ] {
                match ends {
                    Some(ends) if ends <= now => {
                        counter.inc();
                        self.start_drain();
                        break;
                    }
                    Some(ends) => self.look_at_latest(ends),
                    None => {}
                }
            }
        }
        match self.drain.get() {
            Drain::Until(end) if end <= now => self.drain.set(Drain::Over),
            Drain::Until(end) => self.look_at_latest(end),
            _ => {}
        }
    }

    /// No further request is asked for: HTTP/2 says so at once, HTTP/1 with its next answer. After `drain_timeout` the
    /// connection ends when it is idle.
    pub(crate) fn start_drain(&self) {
        if self.drain.get() != Drain::No {
            return;
        }
        // Nothing was sent yet, so there is nobody who would have to be told.
        if self.http2.get().is_none() {
            return self.drain.set(Drain::Over);
        }
        let end = Instant::now() + self.settings.drain_timeout;
        self.drain.set(Drain::Until(end));
        self.look_at_latest(end);
    }

    /// Whether an answer that goes out now has to be the last one. Only asked for HTTP/1.
    pub(crate) fn closes_after_this(&self) -> bool {
        let stats = &self.settings.stats;
        if self.drain.get() == Drain::No {
            let limit = self.settings.common.max_requests_per_connection;
            if limit.is_some_and(|limit| self.requests.get() >= limit) {
                stats.downstream_cx_max_requests_reached.inc();
                self.start_drain();
            } else if self.http.drain.state() != DrainState::Serving
                || self.http.worker.server().health_checks.failing()
            {
                stats.downstream_cx_drain_close.inc();
                self.start_drain();
            }
        }
        self.drain.get() != Drain::No
    }

    /// HTTP/2 connections hear of a drain of their listener at once.
    fn poll_listener_drain(&self, cx: &mut Context<'_>) {
        let mut drains = self.listener_drains.borrow_mut();
        if let Some(future) = &mut *drains
            && future.as_mut().poll(cx).is_ready()
        {
            *drains = None;
            if self.is_http2() && self.drain.get() == Drain::No {
                self.settings.stats.downstream_cx_drain_close.inc();
                self.start_drain();
            }
        }
    }

    /// The client has closed or reset the connection; the first call counts.
    pub(crate) fn client_closed(&self) {
        if !self.client_closed.replace(true) && !self.exchanges.borrow().is_empty() {
            let stats = &self.settings.stats;
            stats.downstream_cx_destroy_active_rq.inc();
            stats.downstream_cx_destroy_remote_active_rq.inc();
        }
    }

    /// Counts how a request of HTTP/2 ended. A client that resets most of its requests at once is not served any longer
    /// (Envoy's `maybeDrainDueToPrematureResets`).
    pub(crate) fn count_end(&self, was_reset_early: bool) {
        let (all, early) = self.finished.get();
        let (all, early) = (all + 1, early + u64::from(was_reset_early));
        self.finished.set((all, early));
        if early * 2 >= all.max(self.settings.premature_resets) && !self.closes_now.get() {
            self.closes_now.set(true);
            self.too_many_resets();
        }
    }

    fn too_many_resets(&self) {
        self.settings.stats.downstream_rq_too_many_premature_resets.inc();
        self.settings.stats.downstream_cx_protocol_error.inc();
    }

    /// A request is dropped before it is done, because the connection is.
    pub(crate) fn dropped_with_request(&self) {
        if !self.dropped_with_request.replace(true) {
            let stats = &self.settings.stats;
            stats.downstream_cx_destroy_active_rq.inc();
            stats.downstream_cx_destroy_local_active_rq.inc();
        }
    }
}

/// A connection, as its codec sees it.
pub(crate) struct Handler(pub(crate) Rc<ManagedConnection>);

impl RequestHandler for Handler {
    type Exchange = Exchange;

    fn protocol(&self, http2: bool) {
        self.0.http2.set(Some(http2));
        let stats = &self.0.settings.stats;
        let (total, active) = if http2 {
            (&stats.downstream_cx_http2_total, &stats.downstream_cx_http2_active)
        } else {
            (&stats.downstream_cx_http1_total, &stats.downstream_cx_http1_active)
        };
        total.inc();
        active.inc();
        self.0.http.info.details.protocol.set(Some(if http2 { "HTTP/2" } else { "HTTP/1.1" }));
    }

    fn begin(&self) -> Rc<Exchange> {
        Exchange::begin(&self.0)
    }

    fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<Closing> {
        self.0.poll_deadlines(cx);
        if self.0.http2.get() != Some(false) {
            self.0.poll_listener_drain(cx);
        }
        if self.0.closes_now.get() {
            return Poll::Ready(Closing::Now);
        }
        let idle = self.0.exchanges.borrow().is_empty();
        match self.0.drain.get() {
            Drain::Over if idle => Poll::Ready(Closing::Now),
            Drain::Until(_) | Drain::Over if self.0.is_http2() => Poll::Ready(Closing::Graceful),
            _ => Poll::Pending,
        }
    }

    fn protocol_error(&self) {
        self.0.settings.stats.downstream_cx_protocol_error.inc();
    }

    fn flooded(&self) -> bool {
        // Requests that were reset before the codec had them are not seen here; whoever floods otherwise has one open.
        let (_, early) = self.0.finished.get();
        let resets = early > 0 || self.0.exchanges.borrow().is_empty();
        if resets {
            self.0.too_many_resets();
        }
        resets
    }

    fn delayed_close_expired(&self) {
        self.0.settings.stats.downstream_cx_delayed_close_timeout.inc();
    }

    fn client_closed(&self) {
        self.0.client_closed();
    }

    fn transferred(&self, received: usize, sent: usize) {
        let stats = &self.0.settings.stats;
        let info = &self.0.http.info;
        if received > 0 {
            stats.downstream_cx_rx_bytes_total.add(received as u64);
            info.bytes_received.set(info.bytes_received.get() + received as u64);
        }
        if sent > 0 {
            stats.downstream_cx_tx_bytes_total.add(sent as u64);
            info.bytes_sent.set(info.bytes_sent.get() + sent as u64);
        }
    }
}

impl Drop for ManagedConnection {
    fn drop(&mut self) {
        let stats = &self.settings.stats;
        stats.downstream_cx_active.dec();
        match self.http2.get() {
            Some(true) => stats.downstream_cx_http2_active.dec(),
            Some(false) => stats.downstream_cx_http1_active.dec(),
            None => {}
        }
        stats.downstream_cx_destroy.inc();
        if self.client_closed.get() {
            stats.downstream_cx_destroy_remote.inc();
        } else {
            stats.downstream_cx_destroy_local.inc();
        }
        let lasted = self.started.elapsed().as_millis();
        stats.downstream_cx_length_ms.record(u64::try_from(lasted).unwrap_or(u64::MAX));
    }
}
