//! An HTTP/2 stream as a stream of bytes: what CONNECT and extended CONNECT make of it (RFC 9113, 8.5; RFC 8441).

use std::{
    cell::OnceCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::io::Io;

use crate::reset::{ResetReason, StreamGuard, StreamReset};

/// Both directions of an HTTP/2 stream as an [`Io`], on either side of the connection.
///
/// Bytes are handed over without a copy both ways. Writing waits for the peer's window, so that hardly anything is
/// buffered. `shutdown` sends `END_STREAM`; [`reset`](Io::reset) sends `RST_STREAM` with CANCEL, and so does dropping it
/// before both directions have ended. A reset by the peer is seen by [`poll_peer_gone`](Io::poll_peer_gone) also when
/// nobody reads.
pub struct H2StreamIo {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// What was received and did not fit into the reader's buffer.
    rest: Bytes,
    phase: Phase,
    shut_down: bool,
    trailers: Rc<OnceCell<HeaderMap>>,
    /// Told of the end.
    guard: Option<Box<dyn StreamGuard>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Data,
    Trailers,
    Ended,
}

impl H2StreamIo {
    /// Both directions of a stream, whose heads were sent and received. `guard` is told of its end.
    pub fn new(send: SendStream<Bytes>, recv: RecvStream, guard: Option<Box<dyn StreamGuard>>) -> Self {
        Self {
            send,
            recv,
            rest: Bytes::new(),
            phase: Phase::Data,
            shut_down: false,
            trailers: Rc::default(),
            guard,
        }
    }

    /// Where trailers that end the peer's direction can be found.
    pub fn trailers(&self) -> &Rc<OnceCell<HeaderMap>> {
        &self.trailers
    }

    /// The next piece of data; an empty one is the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        while self.phase == Phase::Data {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => {
                    // The reader takes no more than it can pass on, which is what holds the sender back.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Ok(data));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(self.failure(&error))),
                None => self.phase = Phase::Trailers,
            }
        }
        if self.phase == Phase::Trailers {
            match ready!(self.recv.poll_trailers(cx)) {
                Ok(Some(trailers)) => {
                    let _ = self.trailers.set(trailers);
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.failure(&error))),
            }
            self.phase = Phase::Ended;
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    fn failure(&mut self, error: &h2::Error) -> io::Error {
        self.phase = Phase::Ended;
        let reset = StreamReset::from(error);
        self.end(Err(&reset));
        reset.into()
    }

    fn end(&mut self, end: Result<(), &StreamReset>) {
        if let Some(guard) = self.guard.take() {
            guard.ended(end);
        }
    }

    /// Waits until some of `wanted` bytes may be sent.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.shut_down {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        loop {
            self.send.reserve_capacity(wanted);
            match self.send.capacity() {
                0 => {}
                capacity => return Poll::Ready(Ok(capacity.min(wanted))),
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(StreamReset::from(&error).into())),
                None => return Poll::Ready(Err(self.why_closed(cx))),
            }
        }
    }

    fn why_closed(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(_)) => StreamReset::from(ResetReason::RemoteReset).into(),
            Poll::Ready(Err(error)) => StreamReset::from(&error).into(),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    fn send(&mut self, data: Bytes) -> io::Result<usize> {
        let n = data.len();
        self.send.send_data(data, false).map_err(|error| io::Error::from(StreamReset::from(&error)))?;
        Ok(n)
    }
}

impl AsyncRead for H2StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0 {
            let piece = ready!(self.poll_read_bytes(cx, buf.remaining()))?;
            buf.put_slice(&piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2StreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = ready!(self.poll_capacity(cx, buf.len()))?;
        Poll::Ready(self.send(Bytes::copy_from_slice(&buf[..n])))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection sends what its streams hand it.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut_down {
            self.shut_down = true;
            if self.send.send_data(Bytes::new(), true).is_err() {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Io for H2StreamIo {
    fn lends_bytes(&self) -> bool {
        true
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        if self.rest.is_empty() {
            self.rest = ready!(self.poll_piece(cx))?;
        }
        let n = self.rest.len().min(max);
        Poll::Ready(Ok(self.rest.split_to(n)))
    }

    fn takes_bytes(&self) -> bool {
        true
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = ready!(self.poll_capacity(cx, bytes.len()))?;
        Poll::Ready(self.send(bytes.split_to(n)))
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }

    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_peer_gone(cx)
    }

    fn reset(&mut self) {
        self.guard = None;
        self.shut_down = true;
        self.send.send_reset(Reason::CANCEL);
    }
}

impl Drop for H2StreamIo {
    fn drop(&mut self) {
        if self.shut_down && (self.phase == Phase::Ended || self.recv.is_end_stream()) {
            self.end(Ok(()));
        }
    }
}
