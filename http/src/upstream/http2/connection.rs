//! One HTTP/2 connection, and the task that drives it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::Request;

use crate::{
    reset::{ResetReason, StreamReset},
    upstream::{accounting::ConnectionState, metered::Metered, pool::Pool},
};

/// One HTTP/2 connection.
pub(in crate::upstream) struct Http2Client {
    /// None once it takes no more requests; the connection then ends with its last stream.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// How many streams there may be.
    limit: Cell<usize>,
    pub(in crate::upstream) connection: Rc<ConnectionState>,
}

impl Http2Client {
    /// Whether it takes another request.
    fn has_room(&self) -> bool {
        self.sender.borrow().is_some() && self.connection.active() < self.limit.get()
    }

    /// Takes no more requests: who waits goes elsewhere, and the connection ends with its last stream.
    pub(in crate::upstream) fn drain(self: &Rc<Self>) {
        let sender = self.sender.take();
        if let Some(pool) = self.connection.pool() {
            pool.forget(self);
        }
        drop(sender);
    }

    /// What an error means for a stream; counted as by Envoy's `MultiplexedActiveClientBase::onStreamReset`.
    pub(super) fn reset(&self, mut reset: StreamReset) -> StreamReset {
        let stats = &self.connection.cluster.stats;
        match reset.reason {
            ResetReason::ConnectionTermination
            | ResetReason::LocalConnectionFailure
            | ResetReason::RemoteConnectionFailure
            | ResetReason::ConnectionTimeout => {
                stats.upstream_rq_pending_failure_eject.inc();
                reset = self.connection.ended_with_request(reset.reason);
            }
            ResetReason::LocalReset | ResetReason::ProtocolError => stats.upstream_rq_tx_reset.inc(),
            ResetReason::RemoteReset => stats.upstream_rq_rx_reset.inc(),
            _ => {}
        }
        reset
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
        Some(Self { client: Rc::clone(client), sender })
    }

    pub(super) fn send_request(
        &mut self,
        request: Request<()>,
        headers_only: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), StreamReset> {
        let sent = self.sender.send_request(request, headers_only);
        sent.map_err(|error| {
            if error.is_io() || error.reason().is_some() {
                (&error).into()
            } else {
                // The request is none that HTTP/2 could carry.
                ResetReason::LocalReset.into()
            }
        })
    }
}

/// Speaks HTTP/2 on a connection that was just opened.
pub(in crate::upstream) async fn open(
    io: Metered,
    connection: Rc<ConnectionState>,
    pool: &Rc<Pool>,
) -> Result<Rc<Http2Client>, h2::Error> {
    let (common, settings) = (&pool.settings.common, &pool.settings.http2);
    let limit = usize::try_from(settings.max_concurrent_streams).unwrap_or(usize::MAX);
    let (sender, driver) = Builder::new()
        .enable_push(false)
        .initial_window_size(settings.initial_stream_window_size)
        .initial_connection_window_size(settings.initial_connection_window_size)
        .header_table_size(settings.hpack_table_size)
        .max_header_list_size(u32::try_from(common.max_response_headers_bytes).unwrap_or(u32::MAX))
        .initial_max_send_streams(limit)
        .handshake(io)
        .await?;
    let client =
        Rc::new(Http2Client { sender: RefCell::new(Some(sender)), limit: Cell::new(limit), connection });
    tokio::task::spawn_local(drive(driver, Rc::clone(&client), limit));
    Ok(client)
}

/// Drives a connection until it is over.
async fn drive(mut driver: Connection<Metered, Bytes>, client: Rc<Http2Client>, configured: usize) {
    let end = poll_fn(|cx| {
        let end = Pin::new(&mut driver).poll(cx);
        if end.is_pending() {
            after_turn(&client, configured, cx);
        }
        end
    })
    .await;
    if let Err(error) = &end
        && error.is_library()
    {
        client.connection.cluster.stats.upstream_cx_protocol_error.inc();
    }
    if client.connection.active() > 0 {
        client.connection.note_ended_with_request();
    }
    client.drain();
}

/// Looks at what the peer may have said.
fn after_turn(client: &Rc<Http2Client>, configured: usize, cx: &mut Context<'_>) {
    let (leaving, allowed) = match &mut *client.sender.borrow_mut() {
        Some(sender) => (
            matches!(sender.poll_ready(cx), Poll::Ready(Err(_))),
            sender.current_max_send_streams().min(configured),
        ),
        None => return,
    };
    if leaving {
        // GOAWAY: streams that are open go on (RFC 9113, 6.8).
        client.connection.cluster.stats.upstream_cx_close_notify.inc();
        client.drain();
    } else if client.limit.replace(allowed) < allowed
        && let Some(pool) = client.connection.pool()
    {
        pool.serve_pending();
    }
}
