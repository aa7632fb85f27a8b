//! A stream that knows no half-close: what a tunnel over HTTP/1.1 is in Envoy.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    os::fd::BorrowedFd,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::{
    forward_io,
    io::{BoxIo, Io},
    relay::Side,
};
use underpass_http::reset::{ResetReason, StreamReset};

/// A side of a tunnel as Envoy has it. Over HTTP/1.1 it knows no half-close: the reads of a stream end when its writes are
/// finished, so with one on each side, a relay ends as soon as one of them does; and a reset of the tunnel is an end like any
/// other. Over HTTP/2 that is so once the connection is lost. Whoever asks for a reset gets an orderly end.
pub(crate) struct WholeClose {
    inner: BoxIo,
    shut_down: bool,
    finished: bool,
    side: Side,
    /// Whether that is so, for both sides.
    whole: Rc<Cell<bool>>,
}

impl WholeClose {
    /// The tunnel over HTTP/1.1.
    pub(super) fn http1(tunnel: BoxIo) -> Self {
        Self::new(tunnel, Side::Upstream, Rc::new(Cell::new(true)))
    }

    /// The tunnel over HTTP/2.
    pub(super) fn http2(tunnel: BoxIo) -> Self {
        Self::new(tunnel, Side::Upstream, Rc::default())
    }

    fn new(inner: BoxIo, side: Side, whole: Rc<Cell<bool>>) -> Self {
        Self { inner, shut_down: false, finished: false, side, whole }
    }

    /// What makes the client's side the same.
    pub(super) fn for_client(&self) -> ForClient {
        ForClient(Rc::clone(&self.whole))
    }

    fn is_whole(&self) -> bool {
        self.whole.get()
    }

    fn seen<T: Default>(&self, read: io::Result<T>) -> io::Result<T> {
        match read {
            Err(error) if self.side == Side::Upstream && is_lost(&error) => {
                self.whole.set(true);
                Ok(T::default())
            }
            Err(error) if self.side == Side::Upstream && self.is_whole() && is_reset(&error) => {
                Ok(T::default())
            }
            other => other,
        }
    }
}

/// Makes the client's side of a tunnel end as the tunnel does.
pub(crate) struct ForClient(Rc<Cell<bool>>);

impl ForClient {
    pub(crate) fn wrap(self, client: BoxIo) -> BoxIo {
        Box::new(WholeClose::new(client, Side::Downstream, self.0))
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

/// Whether the connection below a stream is gone.
fn is_lost(error: &io::Error) -> bool {
    let reset = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamReset>());
    reset.is_some_and(|reset| reset.reason == ResetReason::ConnectionTermination)
}

impl AsyncRead for WholeClose {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        Poll::Ready(self.seen(read))
    }
}

impl AsyncWrite for WholeClose {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut_down {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.shut_down = true;
            // The end of a body is written by whoever drives the connection, whose turn comes before the next one here.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.finished = self.is_whole();
        // Whoever waits to read learns that there is nothing to wait for.
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }
}

impl Io for WholeClose {
    fn lends_bytes(&self) -> bool {
        !self.finished && self.inner.lends_bytes()
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        if self.finished {
            return Poll::Ready(Ok(Bytes::new()));
        }
        let read = ready!(self.inner.poll_read_bytes(cx, max));
        Poll::Ready(self.seen(read))
    }

    fn splices(&self) -> bool {
        !self.finished && self.inner.splices()
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.finished {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(self.inner.poll_splice_in(cx, pipe, max));
        Poll::Ready(self.seen(read))
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_whole() { Poll::Pending } else { self.inner.poll_peer_gone(cx) }
    }

    fn reset(&mut self) {
        if !self.is_whole() {
            self.inner.reset();
        }
    }

    // Whoever took hold of what is below would miss the end that this makes.
    forward_io!(self => self.inner;
        except poll_peek, lends_bytes, poll_read_bytes, splices, poll_splice_in, poll_peer_gone, reset,
        kernel_socket, user_space_socket);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use underpass_core::{
        address::Address,
        user_space_socket::{PairOptions, pair},
    };

    use super::*;

    #[tokio::test]
    async fn nothing_is_read_after_the_writes_are_finished() {
        let (mut peer, end) = pair(PairOptions::new(Address::internal("host", "")));
        let mut end = WholeClose::http1(Box::new(end));
        peer.write_all(b"late").await.unwrap();
        end.shutdown().await.unwrap();
        assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reset_of_the_tunnel_is_an_end() {
        let (mut peer, end) = pair(PairOptions::new(Address::internal("host", "")));
        let mut end = WholeClose::http1(Box::new(end));
        peer.reset();
        assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
