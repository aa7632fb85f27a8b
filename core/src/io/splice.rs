//! `splice(2)` between a kernel socket and a pipe: bytes that pass through the proxy without being copied into it.

use std::io;
use std::os::fd::AsFd;
use std::task::{Poll, ready};

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

/// Moves at most `len` bytes from one descriptor to the other, one of which is a pipe.
///
/// # Errors
/// What `splice(2)` reports; `Unsupported` where the kernel cannot or must not do it with these two.
pub(super) fn splice(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    rustix::pipe::splice(from, None, to, None, len, flags).map_err(|error| match error {
        // splice(2): EINVAL where the file cannot be spliced; the others come from a seccomp(2) filter.
        Errno::INVAL | Errno::NOSYS | Errno::PERM => io::ErrorKind::Unsupported.into(),
        other => other.into(),
    })
}

/// Tries a call on a socket whenever it is ready, until there is something other to say than that it would block.
pub(super) fn poll_call(
    mut poll_ready: impl FnMut() -> Poll<io::Result<()>>,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(poll_ready())?;
        match call() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            result => return Poll::Ready(result),
        }
    }
}

/// What a socket of the kernel has of [`Io`](super::Io) for splicing; tokio's have no trait for what this needs of them.
macro_rules! splice_kernel_socket {
    ($self:ident) => {
        fn splices(&$self) -> bool {
            true
        }

        fn poll_splice_in(
            &mut $self,
            cx: &mut ::std::task::Context<'_>,
            pipe: ::std::os::fd::BorrowedFd<'_>,
            max: usize,
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            let splice = || $crate::io::splice::splice(&*$self, pipe, max);
            let call = || $self.try_io(::tokio::io::Interest::READABLE, splice);
            $crate::io::splice::poll_call(|| $self.poll_read_ready(cx), call)
        }

        fn poll_splice_out(
            &mut $self,
            cx: &mut ::std::task::Context<'_>,
            pipe: ::std::os::fd::BorrowedFd<'_>,
            len: usize,
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            let splice = || $crate::io::splice::splice(pipe, &*$self, len);
            let call = || $self.try_io(::tokio::io::Interest::WRITABLE, splice);
            $crate::io::splice::poll_call(|| $self.poll_write_ready(cx), call)
        }
    };
}
pub(super) use splice_kernel_socket;
