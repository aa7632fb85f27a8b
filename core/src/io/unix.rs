//! A unix stream connection of the kernel as [`Io`].

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::{Interest, ReadBuf};
use tokio::net::UnixStream;

use super::splice::splice_kernel_socket;
use super::{Io, KernelSocket};

impl Io for UnixStream {
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unfilled = buf.initialize_unfilled();
        loop {
            ready!(self.poll_read_ready(cx))?;
            let peeked = self.try_io(Interest::READABLE, || {
                let (_, n) = rustix::net::recv(&*self, &mut *unfilled, RecvFlags::PEEK)?;
                Ok(n)
            });
            match peeked {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    splice_kernel_socket!(self);

    fn kernel_socket(&self) -> Option<KernelSocket<'_>> {
        Some(KernelSocket::Unix(self))
    }

    // There is no reset on a unix socket: the peer sees ECONNRESET only if bytes of its own were left unread.
}
