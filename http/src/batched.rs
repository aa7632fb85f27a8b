//! Writes that leave together: what a connection's streams write in one turn becomes one system call.
//!
//! h2 hands a DATA frame of more than a few hundred bytes to the socket by itself, so twenty small answers would be twenty
//! writes. [`batched`] puts a buffer in between, which the task that drives the connection empties with
//! [`Flusher::poll_flush`] when its turn is over. Large writes do not go through the buffer.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::{
    io::{BoxIo, Io},
    user_space_socket::RefusalNote,
};

/// From this many bytes on, copying costs more than a system call is worth.
const LARGE: usize = 8 * 1024;
/// So much waits at most.
const LIMIT: usize = 64 * 1024;
/// How many pieces a large write may have beside what waits.
const PIECES: usize = 7;

/// Lets the small writes on `io` wait until the flusher is called.
pub(crate) fn batched(io: BoxIo) -> (BoxIo, Flusher) {
    let inner = Rc::new(RefCell::new(Inner { io, waiting: BytesMut::new() }));
    (Box::new(Batched(Rc::clone(&inner))), Flusher(inner))
}

/// Sends what waits. Dropping it makes a last attempt.
pub(crate) struct Flusher(Rc<RefCell<Inner>>);

impl Flusher {
    /// Sends what waits. A failure is told to whoever reads next, so the task is woken for it.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.borrow_mut();
        if !inner.waiting.is_empty() && matches!(inner.poll_drain(cx), Poll::Ready(Err(_))) {
            // The socket is broken for reads as well.
            inner.waiting.clear();
            cx.waker().wake_by_ref();
        }
        let _ = Pin::new(&mut inner.io).poll_flush(cx);
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let mut inner = self.0.borrow_mut();
        if !inner.waiting.is_empty() {
            let _ = inner.poll_drain(&mut Context::from_waker(Waker::noop()));
        }
    }
}

struct Inner {
    io: BoxIo,
    waiting: BytesMut,
}

impl Inner {
    /// Writes what waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.waiting))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(n);
        }
        // An idle connection keeps no memory for it.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Writes these bytes behind those that wait, all in one call as far as the socket takes them.
    fn poll_write_through(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let before = self.waiting.len();
            let mut all = [IoSlice::new(&[]); PIECES + 1];
            all[0] = IoSlice::new(&self.waiting);
            let pieces = bufs.len().min(PIECES);
            all[1..=pieces].copy_from_slice(&bufs[..pieces]);
            let first = usize::from(before == 0);
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all[first..=pieces]))?;
            self.waiting.advance(n.min(before));
            if n > before || n == 0 {
                return Poll::Ready(Ok(n.saturating_sub(before)));
            }
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total >= LARGE {
            return self.poll_write_through(cx, bufs);
        }
        if self.waiting.len() + total > LIMIT {
            ready!(self.poll_drain(cx))?;
        }
        for buf in bufs {
            self.waiting.extend_from_slice(buf);
        }
        Poll::Ready(Ok(total))
    }
}

/// The stream whose small writes wait.
struct Batched(Rc<RefCell<Inner>>);

impl AsyncRead for Batched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Batched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // h2 flushes after each frame; the flusher does it after each turn.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

impl Io for Batched {
    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().io.poll_peer_gone(cx)
    }

    fn refusal_note(&self) -> Option<RefusalNote> {
        self.0.borrow().io.refusal_note()
    }

    fn reset(&mut self) {
        self.0.borrow_mut().io.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A stream that is batched, and its other end.
    fn pair() -> (BoxIo, Flusher, tokio::net::UnixStream) {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let (io, flusher) = batched(Box::new(near));
        (io, flusher, far)
    }

    async fn flush(flusher: &Flusher) {
        poll_fn(|cx| {
            flusher.poll_flush(cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn small_writes_leave_together_and_only_when_told() {
        let (mut io, flusher, mut far) = pair();
        io.write_all(b"one ").await.unwrap();
        io.flush().await.unwrap();
        io.write_all(b"two").await.unwrap();
        let nothing = far.try_read(&mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        flush(&flusher).await;
        let mut read = [0; 7];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one two");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_large_write_takes_along_what_waits_in_order() {
        let (mut io, _flusher, mut far) = pair();
        let large: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let write = async {
            io.write_all(b"first ").await.unwrap();
            io.write_all(&large).await.unwrap();
            io.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let (n, ()) = tokio::join!(far.read_to_end(&mut read), write);
        n.unwrap();
        assert!(read.starts_with(b"first ") && read[6..] == large, "{} bytes", read.len());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_takes_along_what_waits() {
        let (mut io, flusher, mut far) = pair();
        io.write_all(b"bye").await.unwrap();
        drop((io, flusher));
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"bye");
    }
}
