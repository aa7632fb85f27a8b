//! One HTTP/2 connection, and the task that drives it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::Request;
use tokio::time::{Instant, Sleep, sleep_until};
use underpass_core::io::BoxIo;

use super::guard::Guard;
use crate::{
    batched::{Flusher, batched},
    frames::FrameMeter,
    protocol_options::ClusterProtocolOptions,
    reset::{ResetReason, StreamReset},
    upstream::{accounting::ConnectionState, keepalive::Pings, metered::Metered, pool::Pool},
};

/// One HTTP/2 connection.
pub(in crate::upstream) struct Http2Client {
    /// None once it takes no more requests; the connection then ends with its last stream.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// How many streams there may be.
    limit: Cell<usize>,
    /// How long it may be without streams before a ping goes ahead of the next one.
    idle_interval: Option<Duration>,
    wants_ping: Cell<bool>,
    pub(super) frames: Rc<FrameMeter>,
    /// Whether an answer that is none ends the connection, not only its stream.
    is_strict: bool,
    /// Set when it did; wakes the driver.
    broken: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    pub(in crate::upstream) connection: Rc<ConnectionState>,
}

impl Http2Client {
    /// Whether it takes another request.
    fn has_room(&self) -> bool {
        self.sender.borrow().is_some() && self.connection.active() < self.limit.get()
    }

    /// After a while without streams, the next one goes with a ping, which tells soon if the peer is gone.
    fn check_after_idleness(&self) {
        if let Some(interval) = self.idle_interval
            && self.connection.active() == 0
            && self.connection.idle_since.get().elapsed() >= interval
        {
            self.wants_ping.set(true);
        }
    }

    /// Takes note of why there is no answer. One that is none ends the connection, unless the configuration says otherwise.
    pub(super) fn note_error(&self, error: &h2::Error) {
        if error.is_library() && error.is_reset() {
            self.connection.codec_stats.http2().rx_messaging_error.inc();
            if self.is_strict {
                self.broken.set(true);
                if let Some(driver) = self.driver.take() {
                    driver.wake();
                }
            }
        }
    }

    /// Takes no more requests: who waits goes elsewhere, and the connection ends with its last stream.
    pub(in crate::upstream) fn drain(self: &Rc<Self>) {
        let sender = self.sender.take();
        if let Some(pool) = self.connection.pool() {
            pool.forget(self);
        }
        drop(sender);
    }
}

/// A place on an HTTP/2 connection, good for one request also if the connection takes no more by then.
pub(in crate::upstream) struct Http2Place {
    pub(in crate::upstream) client: Rc<Http2Client>,
    /// A handle of its own, since one whose last stream waits for its turn takes no other.
    sender: SendRequest<Bytes>,
}

impl Http2Place {
    /// A place on this connection, if it has one.
    pub(in crate::upstream) fn on(client: &Rc<Http2Client>) -> Option<Self> {
        if !client.has_room() {
            return None;
        }
        let sender = client.sender.borrow().clone()?;
        client.check_after_idleness();
        Some(Self { client: Rc::clone(client), sender })
    }

    pub(super) fn send_request(
        &mut self,
        request: Request<()>,
        headers_only: bool,
        guard: &mut Guard,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), StreamReset> {
        let sent = self.sender.send_request(request, headers_only);
        if let Ok((answer, _)) = &sent {
            guard.watch_frames(&self.client.frames, answer.stream_id().as_u32());
        }
        sent.map_err(|error| {
            guard.fail(if error.is_io() || error.reason().is_some() {
                (&error).into()
            } else {
                // The request is none that HTTP/2 could carry.
                ResetReason::LocalReset.into()
            })
        })
    }
}

/// Speaks HTTP/2 on a connection that was just opened.
pub(in crate::upstream) async fn open(
    io: BoxIo,
    connection: Rc<ConnectionState>,
    pool: &Rc<Pool>,
) -> Result<Rc<Http2Client>, h2::Error> {
    let (common, settings) = (&pool.settings.common, &pool.settings.http2);
    let limit = usize::try_from(settings.max_concurrent_streams).unwrap_or(usize::MAX);
    let headers = u32::try_from(common.max_response_headers_bytes).unwrap_or(u32::MAX);
    let frames = Rc::new(FrameMeter::new(connection.codec_stats.http2()));
    let (io, flusher) = batched(io);
    let io = Metered::with_frames(io, Rc::clone(&connection), Rc::clone(&frames));
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .header_table_size(settings.hpack_table_size)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_window_size(settings.initial_stream_window_size)
        .initial_connection_window_size(settings.initial_connection_window_size)
        .max_header_list_size(settings.max_header_list_size.unwrap_or(headers))
        .initial_max_send_streams(limit);
    if let Some(size) = settings.max_frame_size {
        builder.max_frame_size(size);
    }
    let (sender, connection_driver) = builder.handshake(io).await?;
    let client = Rc::new(Http2Client {
        sender: RefCell::new(Some(sender)),
        limit: Cell::new(limit),
        idle_interval: settings.keepalive.as_ref().and_then(|keepalive| keepalive.connection_idle_interval),
        wants_ping: Cell::new(false),
        frames,
        is_strict: !settings.stream_error_on_invalid_http_message,
        broken: Cell::new(false),
        driver: RefCell::new(None),
        connection,
    });
    let driver = Driver::new(connection_driver, flusher, Rc::clone(&client), &pool.settings);
    tokio::task::spawn_local(driver.run());
    Ok(client)
}

/// Drives a connection until it is over.
struct Driver {
    h2: Connection<Metered, Bytes>,
    flusher: Flusher,
    client: Rc<Http2Client>,
    settings: Arc<ClusterProtocolOptions>,
    pings: Option<Pings>,
}

impl Driver {
    fn new(
        mut h2: Connection<Metered, Bytes>,
        flusher: Flusher,
        client: Rc<Http2Client>,
        settings: &Arc<ClusterProtocolOptions>,
    ) -> Self {
        let keepalive = settings.http2.keepalive.clone();
        let pings = keepalive.and_then(|keepalive| Some(Pings::new(h2.ping_pong()?, keepalive)));
        Self { h2, flusher, client, settings: Arc::clone(settings), pings }
    }

    async fn run(mut self) {
        let mut timer = self.deadline().map(|deadline| Box::pin(sleep_until(deadline)));
        let end = poll_fn(|cx| {
            let turn = Pin::new(&mut self.h2).poll(cx);
            self.flusher.poll_flush(cx);
            self.look_at_peer(cx);
            if let Poll::Ready(end) = turn {
                return Poll::Ready(Some(end));
            }
            if self.client.broken.get() {
                self.client.connection.note_protocol_error();
                return Poll::Ready(None);
            }
            let mut driver = self.client.driver.borrow_mut();
            if !driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
                *driver = Some(cx.waker().clone());
            }
            self.look_at_time(&mut timer, cx);
            if let Some(pings) = &mut self.pings
                && pings.poll_timeout(self.client.wants_ping.take(), cx).is_ready()
            {
                self.client.connection.codec_stats.http2().keepalive_timeout.inc();
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await;
        let connection = &self.client.connection;
        if let Some(Err(error)) = end
            && error.is_library()
        {
            connection.note_protocol_error();
        }
        self.client.drain();
    }

    /// Takes note of what the peer may have said.
    fn look_at_peer(&self, cx: &mut Context<'_>) {
        let client = &self.client;
        let (leaving, allowed) = match &mut *client.sender.borrow_mut() {
            Some(sender) => (
                matches!(sender.poll_ready(cx), Poll::Ready(Err(_))),
                sender.current_max_send_streams().min(self.configured_limit()),
            ),
            None => return,
        };
        if leaving {
            // GOAWAY: streams that are open go on (RFC 9113, 6.8). Or the connection is over.
            if client.frames.goaway_received() {
                client.connection.cluster.stats.upstream_cx_close_notify.inc();
            }
            client.drain();
        } else if client.limit.replace(allowed) < allowed
            && let Some(pool) = client.connection.pool()
        {
            pool.serve_pending();
        }
    }

    fn configured_limit(&self) -> usize {
        usize::try_from(self.settings.http2.max_concurrent_streams).unwrap_or(usize::MAX)
    }

    /// Lets the connection go when it was idle for too long, or is too old.
    fn look_at_time(&self, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) {
        while let Some(sleep) = timer
            && sleep.as_mut().poll(cx).is_ready()
        {
            let client = &self.client;
            let connection = &client.connection;
            if client.sender.borrow().is_none() {
                *timer = None;
            } else if connection.is_expired() {
                client.drain();
                *timer = None;
            } else if self.idle_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                connection.cluster.stats.upstream_cx_idle_timeout.inc();
                client.drain();
                *timer = None;
            } else if let Some(deadline) = self.deadline() {
                sleep.as_mut().reset(deadline);
            }
        }
    }

    /// When the connection will have been idle for too long, if there will be no request.
    fn idle_deadline(&self) -> Option<Instant> {
        let connection = &self.client.connection;
        let since = if connection.active() > 0 { Instant::now() } else { connection.idle_since.get() };
        Some(since + self.settings.common.idle_timeout?)
    }

    fn deadline(&self) -> Option<Instant> {
        self.idle_deadline().into_iter().chain(self.client.connection.expires).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: fn(Driver) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_driver_takes_little_memory_of_its_own() {
        // One for each connection to an HTTP/2 upstream; most of it is what h2 holds.
        let size = size_of_future(Driver::run);
        assert!(size <= 2900, "the future of a driver takes {size} bytes");
    }
}
