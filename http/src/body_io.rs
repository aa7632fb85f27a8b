//! A pair of bodies as a stream of bytes: what a tunnel by POST makes of a request and its answer.

use std::{
    any::Any,
    cell::OnceCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::io::Io;

use crate::{
    Body, BodyError,
    body::BodySender,
    reset::{ResetReason, StreamReset},
};

/// A body that is received and one that is sent, as an [`Io`]. It serves either side: upstream it reads the answer and
/// writes the request's body, downstream the other way round.
///
/// `shutdown` ends the body that is sent; dropping it earlier breaks both bodies off, and so does [`reset`](Io::reset).
pub struct BodyIo {
    /// None once it has ended.
    incoming: Option<Body>,
    /// What was received and did not fit into the reader's buffer.
    rest: Bytes,
    /// None once it has ended.
    outgoing: Option<BodySender>,
    trailers: Rc<OnceCell<HeaderMap>>,
    /// Held for its drop.
    _guard: Option<Box<dyn Any>>,
}

impl BodyIo {
    /// Reads `incoming` and writes to the body of `outgoing`. `guard` is dropped with it.
    pub fn new(incoming: Body, outgoing: BodySender, guard: Option<Box<dyn Any>>) -> Self {
        Self {
            incoming: Some(incoming),
            rest: Bytes::new(),
            outgoing: Some(outgoing),
            trailers: Rc::default(),
            _guard: guard,
        }
    }

    /// Where trailers that end the received body can be found.
    pub fn trailers(&self) -> &Rc<OnceCell<HeaderMap>> {
        &self.trailers
    }

    /// The next piece of data; an empty one is the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        while let Some(incoming) = &mut self.incoming {
            match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Poll::Ready(Ok(data)),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = self.trailers.set(trailers);
                        }
                    }
                },
                Some(Err(error)) => {
                    self.incoming = None;
                    return Poll::Ready(Err(failure(error)));
                }
                None => self.incoming = None,
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    /// The body that is sent, once it takes more.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut BodySender>> {
        let Some(outgoing) = &mut self.outgoing else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match ready!(outgoing.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(outgoing)),
            Err(_) => Poll::Ready(Err(StreamReset::from(ResetReason::RemoteReset).into())),
        }
    }
}

fn failure(error: BodyError) -> io::Error {
    match error {
        BodyError::Reset(reset) => reset.into(),
        other => io::Error::other(other),
    }
}

impl AsyncRead for BodyIo {
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

impl AsyncWrite for BodyIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outgoing = ready!(self.poll_outgoing(cx))?;
        // Nobody can go away between the two calls.
        let _ = outgoing.send(Bytes::copy_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.finish();
        }
        Poll::Ready(Ok(()))
    }
}

impl Io for BodyIo {
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
        let outgoing = ready!(self.poll_outgoing(cx))?;
        let bytes = std::mem::take(bytes);
        let n = bytes.len();
        let _ = outgoing.send(bytes);
        Poll::Ready(Ok(n))
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_unwanted(cx),
            None => Poll::Pending,
        }
    }

    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_peer_gone(cx)
    }

    fn reset(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.abort(BodyError::Reset(ResetReason::LocalReset.into()));
        }
        self.incoming = None;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn two_bodies_are_a_stream_whose_directions_end_one_by_one() {
        let (mut from_peer, incoming) = Body::channel(10);
        let (outgoing, to_peer) = Body::channel(10);
        let mut io = BodyIo::new(incoming, outgoing, None);
        from_peer.send("hello".into()).unwrap();
        from_peer.finish_with(HeaderMap::from_iter([(http::header::AGE, "1".parse().unwrap())])).unwrap();
        let mut read = String::new();
        io.read_to_string(&mut read).await.unwrap();
        assert_eq!((read.as_str(), io.trailers().get().unwrap().len()), ("hello", 1));
        io.write_all(b"bye").await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(to_peer.collect().await.unwrap().to_bytes(), "bye");
    }

    #[tokio::test]
    async fn one_that_is_dropped_breaks_its_body_off_and_tells_the_sender() {
        let (mut from_peer, incoming) = Body::channel(10);
        let (outgoing, to_peer) = Body::channel(10);
        drop(BodyIo::new(incoming, outgoing, None));
        assert!(from_peer.send("unwanted".into()).is_err());
        assert!(to_peer.collect().await.is_err());
    }
}
