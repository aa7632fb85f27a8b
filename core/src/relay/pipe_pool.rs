//! Pipes that relays of one worker lend each other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// An idle pool keeps no more pipes than this. Those that are used at the same moment are the ones whose receivers are
/// behind; all others share one.
const KEPT_AT_MOST: usize = 16;

/// A worker lends no more pipes than this, so that many slow receivers use up neither the descriptors nor what the kernel
/// grants a user (`/proc/sys/fs/pipe-user-pages-soft`). Whoever gets none copies.
const LENT_AT_MOST: usize = 64;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// A pipe of `size` bytes, or as many as the kernel grants but at least `least`.
    fn open(size: usize, least: usize) -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // It refuses what is more than pipe-max-size, and any growth once the user has had his share (pipe(7)).
        let granted = fcntl_setpipe_size(&writer, size);
        let capacity = granted.or_else(|_| fcntl_getpipe_size(&writer))?;
        if capacity < least {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { reader, writer, capacity, held: 0 })
    }

    pub(super) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(super) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn note_in(&mut self, n: usize) {
        self.held += n;
    }

    pub(super) fn note_out(&mut self, n: usize) {
        self.held -= n;
    }

    /// Reads back all that is in it.
    pub(super) fn take_back(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        while self.held > 0 {
            let start = bytes.len() - self.held;
            self.held -= match rustix::io::read(&self.reader, &mut bytes[start..])? {
                // It holds what was put into it.
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n,
            };
        }
        Ok(bytes)
    }
}

/// The pipes of a worker.
#[derive(Debug, Default)]
pub(super) struct PipePool {
    /// A stack: the one used last is warm in the cache. Boxed, as relays hold them: a relay that has none is small.
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    kept: Vec<Box<Pipe>>,
    lent: usize,
}

impl PipePool {
    /// A pipe of `size` bytes, at least `least`. None if there is none to be had.
    pub(super) fn take(&mut self, size: usize, least: usize) -> Option<Box<Pipe>> {
        if self.lent >= LENT_AT_MOST {
            return None;
        }
        let pipe = match self.kept.pop() {
            Some(pipe) => pipe,
            None => Box::new(Pipe::open(size, least).ok()?),
        };
        self.lent += 1;
        Some(pipe)
    }

    /// Takes a pipe back. One with bytes in it is closed, and they are gone.
    pub(super) fn give(&mut self, pipe: Box<Pipe>) {
        self.lent -= 1;
        if pipe.held == 0 && self.kept.len() < KEPT_AT_MOST {
            self.kept.push(pipe);
        }
    }

    /// How many pipes it keeps for later, and how many are lent.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.kept.len(), self.lent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_lends_and_keeps_a_bounded_number() {
        let mut pool = PipePool::default();
        let lent: Vec<_> = std::iter::from_fn(|| pool.take(4096, 1)).collect();
        assert_eq!((lent.len(), pool.counts()), (LENT_AT_MOST, (0, LENT_AT_MOST)));
        lent.into_iter().for_each(|pipe| pool.give(pipe));
        assert_eq!(pool.counts(), (KEPT_AT_MOST, 0));
        assert!(pool.take(4096, 1).is_some());
        assert_eq!(pool.counts(), (KEPT_AT_MOST - 1, 1));
    }

    #[test]
    fn a_pipe_that_the_kernel_does_not_grant_is_as_large_as_it_is() {
        let pipe = Pipe::open(usize::MAX >> 1, 1).unwrap();
        assert!(pipe.capacity() > 0);
        let refused = Pipe::open(4096, usize::MAX).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
    }

    #[test]
    fn what_is_in_a_pipe_can_be_taken_back() {
        let mut pipe = Pipe::open(64 * 1024, 1).unwrap();
        pipe.note_in(rustix::io::write(pipe.writer(), b"hello").unwrap());
        assert_eq!(pipe.held(), 5);
        assert_eq!((pipe.take_back().unwrap().as_slice(), pipe.held()), (&b"hello"[..], 0));
    }

    #[test]
    fn a_pipe_with_bytes_is_not_lent_again() {
        let mut pool = PipePool::default();
        let mut pipe = pool.take(4096, 1).unwrap();
        pipe.note_in(rustix::io::write(pipe.writer(), b"lost").unwrap());
        pool.give(pipe);
        assert_eq!(pool.counts(), (0, 0));
    }
}
