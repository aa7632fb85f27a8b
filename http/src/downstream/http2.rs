//! HTTP/2: many requests at a time on a connection, by the `h2` crate.
//!
//! All streams of a connection run in its task: what is polled is only what was woken, what they write leaves in one go, and
//! they end with it, however that comes about.

mod body;
mod counted;
mod keepalive;
pub(super) mod stream;

use std::{cell::Cell, future::poll_fn, task::Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesUnordered};
use h2::{Reason, server};
use underpass_core::io::{BoxIo, Prefixed};

use self::{counted::Counted, keepalive::Keepalive, stream::serve_stream};
use super::{Closing, DownstreamReset, RequestHandler, ServerOptions};
use crate::batched::batched;

/// RFC 9113, section 6.5.2.
const MIN_FRAME_SIZE: u32 = 1 << 14;
const MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

/// How many streams a client may reset before this side has looked at them.
const MAX_UNSEEN_RESETS: usize = 128;

/// Serves a connection; `read` was read off it before.
pub(super) async fn serve<H: RequestHandler>(
    read: BytesMut,
    io: BoxIo,
    options: &ServerOptions,
    handler: &H,
) {
    let io: BoxIo = if read.is_empty() { io } else { Box::new(Prefixed::with_prefix(read, io)) };
    let (io, flusher) = batched(io);
    let mut handshake = std::pin::pin!(builder(options).handshake::<_, Bytes>(Counted::new(io, handler)));
    let shaken = poll_fn(|cx| {
        let shaken = handshake.as_mut().poll(cx);
        flusher.poll_flush(cx);
        match shaken {
            Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
            Poll::Pending => handler.poll_closing(cx).map(|_| None),
        }
    });
    let mut connection = match shaken.await {
        Some(Ok(connection)) => connection,
        Some(Err(error)) => return note_error(&error, options, handler),
        None => return,
    };
    let ending = Cell::new(None);
    let mut streams = FuturesUnordered::new();
    let mut keepalive = Keepalive::new(options.http2.keepalive.as_ref(), connection.ping_pong());
    let mut leaving = None;
    let end = poll_fn(|cx| {
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    streams.push(serve_stream(handler.begin(), request, respond, options, &ending));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(error)),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {}
        if keepalive.poll_expired(cx).is_ready() {
            options.stats.http2.keepalive_timeout.inc();
            return Poll::Ready(None);
        }
        if let Poll::Ready(closing) = handler.poll_closing(cx)
            && leaving != Some(closing)
            && leaving != Some(Closing::Now)
        {
            if leaving.replace(closing).is_none() {
                options.stats.http2.goaway_sent.inc();
            }
            match closing {
                Closing::Now => connection.abrupt_shutdown(Reason::NO_ERROR),
                Closing::Graceful => connection.graceful_shutdown(),
            }
            cx.waker().wake_by_ref();
        }
        flusher.poll_flush(cx);
        Poll::Pending
    })
    .await;
    if let Some(error) = &end {
        note_error(error, options, handler);
        ending.set(Some(if error.is_io() || error.is_remote() {
            DownstreamReset::Disconnected
        } else {
            DownstreamReset::ProtocolError("http2.violation.of.messaging.rule")
        }));
    } else {
        ending.set(Some(DownstreamReset::Disconnected));
    }
    drop(streams);
}

fn builder(options: &ServerOptions) -> server::Builder {
    let http2 = &options.http2;
    let mut builder = server::Builder::new();
    builder
        .header_table_size(http2.hpack_table_size)
        .max_concurrent_streams(http2.max_concurrent_streams)
        .initial_window_size(http2.initial_stream_window_size)
        .initial_connection_window_size(http2.initial_connection_window_size)
        .max_header_list_size(
            http2
                .max_header_list_size
                .unwrap_or(u32::try_from(options.max_headers_bytes).unwrap_or(u32::MAX)),
        )
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_send_buffer_size(options.buffer_limit.clamp(64 * 1024, 1024 * 1024));
    if let Some(size) = http2.max_frame_size {
        builder.max_frame_size(size.clamp(MIN_FRAME_SIZE, MAX_FRAME_SIZE));
    }
    if http2.allow_connect {
        builder.enable_connect_protocol();
    }
    builder
}

/// Counts how a connection ended that its client broke.
fn note_error<H: RequestHandler>(error: &h2::Error, options: &ServerOptions, handler: &H) {
    if error.is_io() || error.is_remote() {
        return;
    }
    let stats = &options.stats.http2;
    stats.goaway_sent.inc();
    if error.reason() != Some(Reason::ENHANCE_YOUR_CALM) {
        stats.rx_messaging_error.inc();
        return handler.protocol_error();
    }
    // h2 does not say of what there was too much.
    if !handler.flooded() {
        stats.inbound_empty_frames_flood.inc();
    }
}
