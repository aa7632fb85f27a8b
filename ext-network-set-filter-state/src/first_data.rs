//! A stream that tells when it is read from for the first time.

use std::{
    io,
    os::fd::BorrowedFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::{
    forward_io, forward_writes,
    io::{BoxIo, Io, KernelSocket},
    user_space_socket::UserSpaceSocket,
};

/// Calls a function at the first read that brings something, be it the end of the stream. From then on the stream below
/// shows through.
pub(crate) struct OnFirstData {
    inner: BoxIo,
    tell: Option<Box<dyn FnOnce()>>,
}

impl OnFirstData {
    pub(crate) fn new(inner: BoxIo, tell: Box<dyn FnOnce()>) -> Self {
        Self { inner, tell: Some(tell) }
    }

    fn tell(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell();
        }
    }
}

impl AsyncRead for OnFirstData {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.tell();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OnFirstData {
    forward_writes!(self => self.inner);
}

impl Io for OnFirstData {
    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let bytes = ready!(self.inner.poll_read_bytes(cx, max))?;
        self.tell();
        Poll::Ready(Ok(bytes))
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let n = ready!(self.inner.poll_splice_in(cx, pipe, max))?;
        self.tell();
        Poll::Ready(Ok(n))
    }

    fn kernel_socket(&self) -> Option<KernelSocket<'_>> {
        // Whoever moves bytes past this stream would not be noticed.
        if self.tell.is_none() { self.inner.kernel_socket() } else { None }
    }

    fn user_space_socket(&mut self) -> Option<&mut UserSpaceSocket> {
        if self.tell.is_none() { self.inner.user_space_socket() } else { None }
    }

    forward_io!(self => self.inner; except poll_read_bytes, poll_splice_in, kernel_socket, user_space_socket);
}
