//! A TCP connection of the kernel as [`Io`].

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::splice::splice_kernel_socket;
use super::{Io, KernelSocket};

impl Io for TcpStream {
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(TcpStream::poll_peek(self, cx, buf))?;
        Poll::Ready(Ok(()))
    }

    splice_kernel_socket!(self);

    fn kernel_socket(&self) -> Option<KernelSocket<'_>> {
        Some(KernelSocket::Tcp(self))
    }

    /// With `SO_LINGER` at zero, `close(2)` throws away what is unsent and sends RST (socket(7), RFC 9293 3.10.5 ABORT).
    fn reset(&mut self) {
        // It fails on a socket that is already gone, and then there is nobody left to tell.
        let _ = self.set_zero_linger();
    }
}
