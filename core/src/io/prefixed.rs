//! A stream whose first bytes were already read by somebody who had to look at them.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{BoxIo, Io, KernelSocket};
use crate::user_space_socket::UserSpaceSocket;
use crate::{forward_io, forward_writes};

/// An [`Io`] that replays bytes before it reads on, and lets listener filters look ahead.
///
/// A filter that inspects looks at [`buffered`](Self::buffered) and asks for more with [`fill`](Self::fill); one that
/// takes a header off the stream [`consume`](Self::consume)s it. Whatever remains is what the next reader sees first.
/// The buffer is freed when it has been read; from then on the stream below shows through.
pub struct Prefixed {
    prefix: BytesMut,
    inner: BoxIo,
}

impl Prefixed {
    /// Nothing buffered yet.
    pub fn new(inner: BoxIo) -> Self {
        Self { prefix: BytesMut::new(), inner }
    }

    /// `prefix` is read first, then `inner`.
    pub fn with_prefix(prefix: BytesMut, inner: BoxIo) -> Self {
        Self { prefix, inner }
    }

    /// The bytes that were read ahead and not consumed.
    pub fn buffered(&self) -> &[u8] {
        &self.prefix
    }

    /// Reads on behind what is buffered, at most `max` bytes more, and says how many arrived. Zero is end of stream
    /// (or `max` was zero).
    ///
    /// # Errors
    /// What the read reports; the buffered bytes stay.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<usize>> {
        self.prefix.reserve(max.min(FILL_STEP));
        let mut target = (&mut self.prefix).limit(max);
        let filled = pin!(self.inner.read_buf(&mut target)).poll(cx);
        // A client that says nothing costs nothing.
        self.free_when_empty();
        filled
    }

    /// [`poll_fill`](Self::poll_fill) as a future. Dropping it loses nothing.
    ///
    /// # Errors
    /// As `poll_fill`.
    pub async fn fill(&mut self, max: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, max)).await
    }

    /// Takes the first `n` buffered bytes off the stream; more than are buffered takes all of them.
    pub fn consume(&mut self, n: usize) {
        self.prefix.advance(n.min(self.prefix.len()));
        self.free_when_empty();
    }

    /// The stream for the next in line: the one below where nothing is buffered any more, else this one.
    pub fn into_io(self) -> BoxIo {
        if self.prefix.is_empty() { self.inner } else { Box::new(self) }
    }

    /// What is buffered, and the stream below.
    pub fn into_parts(self) -> (BytesMut, BoxIo) {
        (self.prefix, self.inner)
    }

    fn free_when_empty(&mut self) {
        if self.prefix.is_empty() {
            self.prefix = BytesMut::new();
        }
    }
}

/// How much is read ahead at once: a ClientHello or a PROXY header fits in one step.
const FILL_STEP: usize = 2048;

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.consume(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    forward_writes!(self => self.inner);
}

impl Io for Prefixed {
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return self.inner.poll_peek(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        Poll::Ready(Ok(()))
    }

    fn lends_bytes(&self) -> bool {
        !self.prefix.is_empty() || self.inner.lends_bytes()
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        if self.prefix.is_empty() {
            return self.inner.poll_read_bytes(cx, max);
        }
        let n = self.prefix.len().min(max);
        let piece = self.prefix.split_to(n).freeze();
        self.free_when_empty();
        Poll::Ready(Ok(piece))
    }

    fn splices(&self) -> bool {
        self.prefix.is_empty() && self.inner.splices()
    }

    fn kernel_socket(&self) -> Option<KernelSocket<'_>> {
        // While bytes wait here, the kernel socket is not the whole stream.
        if self.prefix.is_empty() { self.inner.kernel_socket() } else { None }
    }

    fn user_space_socket(&mut self) -> Option<&mut UserSpaceSocket> {
        if self.prefix.is_empty() { self.inner.user_space_socket() } else { None }
    }

    forward_io!(self => self.inner;
        except poll_peek, lends_bytes, poll_read_bytes, splices, kernel_socket, user_space_socket);
}
