//! The byte stream that every part of a connection's way passes on: a socket, or something wrapped around one.
//!
//! [`Io`] is tokio's `AsyncRead + AsyncWrite` plus a few abilities that only some streams have: looking at bytes
//! without taking them, handing over owned [`Bytes`] without a copy, splicing, lending the kernel socket below, aborting. Each is
//! a method with a default, so that a wrapper implements what it can and refuses the rest by saying nothing.

mod abort_watch;
mod forward;
mod look_ahead;
mod prefixed;
mod refuse;
mod splice;
mod tcp;
mod unix;

pub use abort_watch::AbortWatch;
pub use look_ahead::LookAhead;
pub use prefixed::Prefixed;
pub use refuse::refuse;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::forward_io;
use crate::user_space_socket::{RefusalNote, UserSpaceSocket};

/// A boxed [`Io`]: what transport sockets wrap and terminal filters pump.
///
/// It is neither `Send` nor shared: a connection stays on its worker.
pub type BoxIo = Box<dyn Io>;

/// A byte stream with the abilities that a proxy needs beyond reading and writing.
///
/// An implementation must forward `poll_write_vectored` *and* `is_write_vectored` to what it wraps, or large writes
/// lose their vectors. [`forward_io`] writes the methods of this trait for a wrapper.
pub trait Io: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Copies bytes that can be read now into `buf` and leaves them to be read again.
    ///
    /// It waits only while there is nothing at all: one byte is enough to make it ready, and end of stream leaves `buf`
    /// as it was. A caller that needs more than is there cannot wait for it here, since the bytes it has seen keep the
    /// stream readable; [`Prefixed::fill`] is for that.
    ///
    /// # Errors
    /// `Unsupported` where the stream cannot look ahead (the default), else what a read would report.
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let _ = (cx, buf);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Whether [`poll_read_bytes`](Self::poll_read_bytes) works now and is cheaper than a read. It may change from one
    /// call to the next.
    fn lends_bytes(&self) -> bool {
        false
    }

    /// Takes the next piece of the stream, at most `max` bytes, as it lies in memory. An empty piece is end of stream.
    ///
    /// # Errors
    /// `Unsupported` where nothing can be handed over (the default, see [`lends_bytes`](Self::lends_bytes)), else what
    /// a read would report.
    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let _ = (cx, max);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Whether [`poll_write_bytes`](Self::poll_write_bytes) moves bytes rather than copying them.
    fn takes_bytes(&self) -> bool {
        false
    }

    /// Writes from the front of `bytes`, which loses what was accepted. A stream that [takes
    /// bytes](Self::takes_bytes) keeps the memory; the default copies as `poll_write` does.
    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(self).poll_write(cx, bytes))?;
        bytes.advance(written);
        Poll::Ready(Ok(written))
    }

    /// Whether [`poll_splice_in`](Self::poll_splice_in) and [`poll_splice_out`](Self::poll_splice_out) work now: there is a
    /// kernel socket below, and nothing between that would have to see the bytes. It may change from one call to the next.
    fn splices(&self) -> bool {
        false
    }

    /// Moves what can be read into `pipe` (its end for writing), at most `max` bytes, and says how many they were. Zero is
    /// end of stream.
    ///
    /// The pipe must be empty: one that is full cannot be told from a socket that has nothing.
    ///
    /// # Errors
    /// `Unsupported` where nothing can be spliced (the default, see [`splices`](Self::splices)) or the kernel refuses to:
    /// then nothing was moved, and reading works. Else what a read would report.
    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, pipe, max);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Writes from `pipe` (its end for reading), which holds at least `len` bytes, and says how many were taken.
    ///
    /// # Errors
    /// `Unsupported` as for [`poll_splice_in`](Self::poll_splice_in), else what a write would report.
    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, pipe, len);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Ready once the peer is gone for good, so that not even a write can be of use, although end of stream was all
    /// that could be read.
    ///
    /// Only a stream that can tell says so; the default never does, since a kernel socket learns it by writing. It
    /// shares the waker of writes: call it from the task that writes.
    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }

    /// Ready once the peer has aborted, so that even what it has sent and nobody has read yet is of no use.
    ///
    /// Only a stream that can tell says so; the default never does. It is asked while reading has to wait, by the task that
    /// reads and writes: it may share the wakers of both.
    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }

    /// The kernel socket that carries exactly this stream's bytes, if nothing lies between. For `splice(2)` and socket
    /// options.
    fn kernel_socket(&self) -> Option<KernelSocket<'_>> {
        None
    }

    /// This stream as one end of a user-space socket pair, if it is one with nothing in between.
    fn user_space_socket(&mut self) -> Option<&mut UserSpaceSocket> {
        None
    }

    /// The note that both ends share if this is an end of a user-space socket pair, whatever lies in between: where the
    /// listener's side says why it gives up. A wrapper forwards it.
    fn refusal_note(&self) -> Option<RefusalNote> {
        None
    }

    /// Aborts: the peer shall see a reset rather than an orderly end. The stream is of no use afterwards and takes full
    /// effect when it is dropped. The default leaves it at the drop.
    fn reset(&mut self) {}
}

/// A kernel socket that an [`Io`] lends.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum KernelSocket<'a> {
    /// A TCP connection.
    Tcp(&'a TcpStream),
    /// A unix stream connection.
    Unix(&'a UnixStream),
}

impl AsFd for KernelSocket<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Nothing at all: what stands where a stream was taken away. It takes no memory.
impl Io for tokio::io::Empty {}

impl<T: Io + ?Sized> Io for Box<T> {
    forward_io!(self => **self);
}

#[cfg(test)]
mod tests;
