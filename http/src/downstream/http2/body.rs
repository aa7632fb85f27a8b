//! The body of an HTTP/2 request.

use std::{
    pin::Pin,
    rc::Weak,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Frame, SizeHint};

use crate::{
    BodyError,
    downstream::Exchange,
    reset::{ResetReason, StreamReset},
};

/// The DATA frames and trailers of a stream. The client may send as much more as was taken from here.
pub(super) struct StreamBody<E: Exchange> {
    stream: RecvStream,
    exchange: Weak<E>,
    data_done: bool,
    done: bool,
    length: Option<u64>,
}

impl<E: Exchange> StreamBody<E> {
    pub(super) fn new(stream: RecvStream, exchange: Weak<E>, length: Option<u64>) -> Self {
        Self { stream, exchange, data_done: false, done: false, length }
    }

    /// The exchange may be over while somebody still holds its body.
    fn tell(&self, what: impl FnOnce(&E)) {
        if let Some(exchange) = self.exchange.upgrade() {
            what(&exchange);
        }
    }
}

impl<E: Exchange> http_body::Body for StreamBody<E> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        while !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It cannot fail: no more is released than was received.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if let Some(length) = &mut self.length {
                        *length = length.saturating_sub(data.len() as u64);
                    }
                    self.tell(|exchange| exchange.data_received(data.len()));
                    if self.stream.is_end_stream() {
                        self.done = true;
                        self.data_done = true;
                        self.tell(E::request_complete);
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    if self.done {
                        return Poll::Ready(None);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(reset(&error).into()))),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(|error| reset(&error))?;
        self.done = true;
        self.tell(E::request_complete);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// What broke a body off.
fn reset(error: &h2::Error) -> StreamReset {
    let reason = match error.reason() {
        _ if error.is_io() => ResetReason::ConnectionTermination,
        Some(Reason::REFUSED_STREAM) => ResetReason::RemoteRefusedStreamReset,
        _ if error.is_remote() => ResetReason::RemoteReset,
        _ => ResetReason::ProtocolError,
    };
    reason.into()
}
