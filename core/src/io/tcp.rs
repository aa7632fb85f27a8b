//! A TCP connection of the kernel as [`Io`].

use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};

use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

use super::splice::{poll_call, splice};
use super::{Io, KernelSocket};

impl Io for TcpStream {
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(TcpStream::poll_peek(self, cx, buf))?;
        Poll::Ready(Ok(()))
    }

    fn splices(&self) -> bool {
        true
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let call = || self.try_io(Interest::READABLE, || splice(&*self, pipe, max));
        poll_call(|| self.poll_read_ready(cx), call)
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let call = || self.try_io(Interest::WRITABLE, || splice(pipe, &*self, len));
        poll_call(|| self.poll_write_ready(cx), call)
    }

    fn kernel_socket(&self) -> Option<KernelSocket<'_>> {
        Some(KernelSocket::Tcp(self))
    }

    /// With `SO_LINGER` at zero, `close(2)` throws away what is unsent and sends RST (socket(7), RFC 9293 3.10.5 ABORT).
    fn reset(&mut self) {
        // It fails on a socket that is already gone, and then there is nobody left to tell.
        let _ = self.set_zero_linger();
    }
}
