//! The body of an HTTP/2 stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use super::BodyError;
use crate::reset::{StreamGuard, StreamReset};

/// What one side of an HTTP/2 stream receives. Dropping it before its end resets the stream, if nobody else holds it.
pub(super) struct Http2Body {
    stream: RecvStream,
    phase: Phase,
    /// Told of the end.
    guard: Option<Box<dyn StreamGuard>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Data,
    Trailers,
    Done,
}

impl Http2Body {
    pub(super) fn new(stream: RecvStream, guard: Option<Box<dyn StreamGuard>>) -> Self {
        Self { stream, phase: Phase::Data, guard }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.phase == Phase::Data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Who polls takes it; from here on it is his to hold the sender back, by not polling. An error says
                    // that the stream is gone, which the next poll reports.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(&error)))),
                None => self.phase = Phase::Trailers,
            }
        }
        if self.phase == Phase::Trailers {
            let trailers = ready!(self.stream.poll_trailers(cx));
            self.phase = Phase::Done;
            match trailers {
                Ok(trailers) => {
                    self.end(Ok(()));
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Err(error) => return Poll::Ready(Some(Err(self.fail(&error)))),
            }
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: &h2::Error) -> BodyError {
        self.phase = Phase::Done;
        let reset = StreamReset::from(error);
        self.end(Err(&reset));
        BodyError::Reset(reset)
    }

    fn end(&mut self, end: Result<(), &StreamReset>) {
        if let Some(guard) = self.guard.take() {
            guard.ended(end);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.phase == Phase::Done || self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        // Who saw the end coming need not read it.
        if self.is_end_stream() {
            self.end(Ok(()));
        }
    }
}
