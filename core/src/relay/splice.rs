//! Bytes that pass a relay inside the kernel, through a pipe, where that is cheaper than copying them.

use std::io;
use std::task::{Context, Poll, ready};

use super::BufferPool;
use super::direction::Surroundings;
use super::pipe_pool::Pipe;
use crate::io::BoxIo;

/// So many small pieces in a row end splicing: one alone may be the end of a large transfer before the next one.
const SMALL_PIECES: u8 = 8;

/// When a relay moves bytes with `splice(2)`.
///
/// It takes sockets of the kernel on both sides, and bulk: moving a page costs more than copying a few bytes does, and a
/// pipe costs two descriptors while bytes are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpliceOptions {
    /// A read of so many bytes is a piece of bulk, in bytes. Where the buffer limit is lower, nothing is spliced.
    pub large_piece: usize,
    /// After so many large pieces in a row, the next one is spliced.
    pub after_pieces: u8,
    /// A spliced piece of fewer bytes is a small one. A few in a row end it.
    pub small_piece: usize,
    /// How large a pipe shall be, in bytes; the kernel may grant less. The buffer limit holds for what is in it, too.
    pub pipe_size: usize,
}

impl Default for SpliceOptions {
    fn default() -> Self {
        Self { large_piece: 64 * 1024, after_pieces: 2, small_piece: 16 * 1024, pipe_size: 512 * 1024 }
    }
}

/// What of one direction passes through a pipe. It has a pipe only while bytes are in it.
#[derive(Debug)]
pub(super) struct Splicer {
    pipe: Option<Box<Pipe>>,
    mode: Mode,
    /// How many bytes may wait: in a pipe, or in a buffer where nothing is spliced.
    pub(super) limit: u32,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    /// Copies; this many large pieces came in a row.
    Copy { large: u8 },
    /// Splices; this many small pieces came in a row.
    Splice { small: u8 },
    /// Copies, since the kernel does not splice these two.
    CopyForGood,
}

impl Default for Mode {
    fn default() -> Self {
        Self::Copy { large: 0 }
    }
}

impl Splicer {
    pub(super) fn new(limit: u32) -> Self {
        Self { pipe: None, mode: Mode::default(), limit }
    }

    /// How many bytes wait in the pipe.
    pub(super) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held())
    }

    /// Tells that a read into memory brought `n` bytes.
    pub(super) fn note_copied(&mut self, n: usize, pool: &BufferPool) {
        if let (Mode::Copy { large }, Some(options)) = (&mut self.mode, pool.splice_options()) {
            *large = if n >= options.large_piece { large.saturating_add(1) } else { 0 };
        }
    }

    /// Whether the next piece shall be spliced, where at most `limit` bytes may wait. A pipe is at hand then.
    pub(super) fn is_due(&mut self, around: &Surroundings<'_>, limit: usize) -> bool {
        let Some(options) = around.pool.splice_options() else { return false };
        match self.mode {
            Mode::Copy { large } if large >= options.after_pieces && limit >= options.large_piece => {
                self.mode = Mode::Splice { small: 0 };
            }
            Mode::Copy { .. } | Mode::CopyForGood => return false,
            Mode::Splice { .. } => {}
        }
        if !around.source.splices() || !around.sink.splices() {
            return false;
        }
        if self.pipe.is_none() {
            self.pipe = around.pool.take_pipe(options.pipe_size, options.large_piece);
        }
        if self.pipe.is_none() {
            // There may be one later.
            self.mode = Mode::Copy { large: 0 };
        }
        self.pipe.is_some()
    }

    /// Takes the next piece out of the source, at most `limit` bytes, if [it is due](Self::is_due). Zero is end of stream,
    /// None that it cannot be done and will not be tried again.
    pub(super) fn poll_in(
        &mut self,
        cx: &mut Context<'_>,
        around: &mut Surroundings<'_>,
        limit: usize,
    ) -> Poll<Option<io::Result<usize>>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(None) };
        let max = limit.min(pipe.capacity());
        let spliced = ready!(around.source.poll_splice_in(cx, pipe.writer(), max));
        if let Ok(n) = spliced {
            pipe.note_in(n);
            self.note_spliced(n, around.pool);
        }
        Poll::Ready(self.unless_unsupported(spliced))
    }

    fn note_spliced(&mut self, n: usize, pool: &BufferPool) {
        let small_piece = pool.splice_options().map_or(0, |options| options.small_piece);
        let small = match self.mode {
            Mode::Splice { small } if n < small_piece => small + 1,
            _ => 0,
        };
        self.mode = if small < SMALL_PIECES { Mode::Splice { small } } else { Mode::Copy { large: 0 } };
    }

    /// Writes from the pipe to `sink`. None if that cannot be done, and will not be tried again: then the bytes are to be
    /// [taken back](Self::take_back).
    pub(super) fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut BoxIo,
    ) -> Poll<Option<io::Result<usize>>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(None) };
        let spliced = ready!(sink.poll_splice_out(cx, pipe.reader(), pipe.held()));
        if let Ok(n) = spliced {
            pipe.note_out(n);
        }
        Poll::Ready(self.unless_unsupported(spliced))
    }

    fn unless_unsupported(&mut self, spliced: io::Result<usize>) -> Option<io::Result<usize>> {
        if spliced.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            self.mode = Mode::CopyForGood;
            return None;
        }
        Some(spliced)
    }

    /// The bytes in the pipe, which is empty then.
    pub(super) fn take_back(&mut self) -> io::Result<Vec<u8>> {
        self.pipe.as_mut().map_or(Ok(Vec::new()), |pipe| pipe.take_back())
    }

    /// Gives its pipe back; if bytes are in it, nobody needs them any more.
    pub(super) fn release(&mut self, pool: &BufferPool) {
        if let Some(pipe) = self.pipe.take() {
            pool.give_pipe(pipe);
        }
    }
}
