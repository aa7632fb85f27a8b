//! Counting what upstream connections carry on the wire.

use std::{
    io::{self, IoSlice},
    os::fd::BorrowedFd,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::{
    forward_io, forward_writes,
    io::{BoxIo, Io},
};

use super::accounting::ConnectionState;
use crate::frames::FrameMeter;

/// The bytes of an upstream connection; what passes is counted, and who ended it is noted.
pub(super) struct Metered {
    io: BoxIo,
    connection: Rc<ConnectionState>,
    /// What looks at the frames, where there are any.
    frames: Option<Rc<FrameMeter>>,
}

impl Metered {
    pub(super) fn new(io: BoxIo, connection: Rc<ConnectionState>) -> Self {
        Self { io, connection, frames: None }
    }

    /// One whose frames are looked at.
    pub(super) fn with_frames(io: BoxIo, connection: Rc<ConnectionState>, frames: Rc<FrameMeter>) -> Self {
        Self { io, connection, frames: Some(frames) }
    }

    fn note_read(&self, read: &io::Result<usize>) {
        match read {
            Ok(0) => self.connection.note_remote_end(),
            Err(_) => self.connection.note_remote_close(),
            Ok(n) => self.connection.note_received(*n),
        }
    }

    fn note_write(&self, written: &io::Result<usize>) {
        match written {
            Ok(n) => self.connection.note_sent(*n),
            Err(_) => self.connection.note_remote_close(),
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if room > 0 {
            let n = buf.filled().len() - before;
            if let Some(frames) = &self.frames {
                frames.note_received(&buf.filled()[before..]);
            }
            self.note_read(&result.as_ref().map(|()| n).map_err(|error| error.kind().into()));
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        self.note_write(&written);
        if let (Some(frames), Ok(n)) = (&self.frames, &written) {
            frames.note_sent(&buf[..*n]);
        }
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs));
        self.note_write(&written);
        if let (Some(frames), Ok(n)) = (&self.frames, &written) {
            let mut rest = *n;
            for buf in bufs {
                let taken = rest.min(buf.len());
                frames.note_sent(&buf[..taken]);
                rest -= taken;
            }
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Io for Metered {
    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let result = ready!(self.io.poll_read_bytes(cx, max));
        self.note_read(&result.as_ref().map(Bytes::len).map_err(|error| error.kind().into()));
        Poll::Ready(result)
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        let written = ready!(self.io.poll_write_bytes(cx, bytes));
        self.note_write(&written);
        Poll::Ready(written)
    }

    fn splices(&self) -> bool {
        // Frames cannot be looked at in a pipe.
        self.frames.is_none() && self.io.splices()
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let result = ready!(self.io.poll_splice_in(cx, pipe, max));
        if !is_unsupported(&result) {
            self.note_read(&result);
        }
        Poll::Ready(result)
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.io.poll_splice_out(cx, pipe, len));
        if !is_unsupported(&written) {
            self.note_write(&written);
        }
        Poll::Ready(written)
    }

    // Bytes that somebody moved past this stream would not be counted.
    forward_io!(self => self.io;
        except poll_read_bytes, poll_write_bytes, splices, poll_splice_in, poll_splice_out, kernel_socket,
        user_space_socket);
}

/// Whether nothing was spliced because it cannot be, which says nothing of the connection.
fn is_unsupported(result: &io::Result<usize>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported)
}

/// A stream of bytes that holds something until it is dropped.
pub(super) struct Held<H> {
    io: BoxIo,
    _held: H,
}

impl<H> Held<H> {
    pub(super) fn new(io: BoxIo, held: H) -> Self {
        Self { io, _held: held }
    }
}

impl<H: Unpin> AsyncRead for Held<H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<H: Unpin> AsyncWrite for Held<H> {
    forward_writes!(self => self.io);
}

impl<H: Unpin + 'static> Io for Held<H> {
    // What it holds belongs to whoever has it, so it cannot be taken off.
    forward_io!(self => self.io; except kernel_socket, user_space_socket);
}
