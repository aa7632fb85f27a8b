//! Sending a request's body on an HTTP/2 stream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::{
    Body,
    reset::{ResetReason, StreamReset},
};

/// Sends a body as the peer's window permits. Dropping it early resets the stream, once nobody else holds it.
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: Body,
    /// Data that waits for the window.
    waiting: Bytes,
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: Body) -> Self {
        Self { stream, body, waiting: Bytes::new() }
    }

    /// Sends what is waiting. An error of the stream is told by its answer, too: here it only ends the sending.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while !self.waiting.is_empty() {
            self.stream.reserve_capacity(self.waiting.len());
            let mut capacity = self.stream.capacity();
            if capacity == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(result) => capacity = result?,
                    None => return Poll::Ready(Err(Reason::CANCEL.into())),
                }
            }
            let piece = self.waiting.split_to(capacity.min(self.waiting.len()));
            let last = self.waiting.is_empty() && self.body.is_end_stream();
            self.stream.send_data(piece, last)?;
            if last {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Future for Upload {
    /// The error is one of the request's body.
    type Output = Result<(), StreamReset>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let had_waiting = !this.waiting.is_empty();
            if ready!(this.poll_waiting(cx)).is_err() {
                return Poll::Ready(Ok(()));
            }
            if had_waiting && this.body.is_end_stream() {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.waiting = data,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = this.stream.send_trailers(trailers);
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
                Some(Err(_)) => {
                    this.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(ResetReason::LocalReset.into()));
                }
                None => {
                    let _ = this.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
