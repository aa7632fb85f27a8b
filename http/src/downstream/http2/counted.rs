//! Tells the handler how many bytes a connection moves.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::io::BoxIo;

use crate::downstream::RequestHandler;

/// A connection whose bytes are counted.
pub(super) struct Counted<'a, H> {
    io: BoxIo,
    handler: &'a H,
}

impl<'a, H> Counted<'a, H> {
    pub(super) fn new(io: BoxIo, handler: &'a H) -> Self {
        Self { io, handler }
    }
}

impl<H: RequestHandler> AsyncRead for Counted<'_, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let n = buf.filled().len() - before;
        if n == 0 {
            self.handler.client_closed();
        }
        self.handler.transferred(n, 0);
        read?;
        Poll::Ready(Ok(()))
    }
}

impl<H: RequestHandler> AsyncWrite for Counted<'_, H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.handler.transferred(0, n);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.handler.transferred(0, n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
