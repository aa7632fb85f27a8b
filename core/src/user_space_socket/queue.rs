//! One direction of a pair: a queue of bytes that counts the memory it holds.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// The first chunk of copied bytes is at least this large; the next ones double.
const MIN_CHUNK: usize = 512;
/// And at most this large, so that memory is given back in steps while the reader drains.
const MAX_CHUNK: usize = 64 * 1024;
/// Owned bytes shorter than this are copied: the copy is cheaper than the memory that a small slice may pin.
const MOVE_FROM: usize = 8 * 1024;

/// Bytes on their way, between a high watermark (the limit) and a low one (half of it).
#[derive(Debug)]
pub(super) struct Queue {
    chunks: VecDeque<Chunk>,
    /// Memory of all chunks, whether read already or not yet written.
    held: usize,
    /// Bytes that can be read.
    len: usize,
    limit: usize,
    /// The high watermark was reached, the low one not yet.
    full: bool,
}

#[derive(Debug)]
enum Chunk {
    /// Copied bytes; the last chunk of a queue is filled up to its capacity before another one is made.
    Copied { data: Vec<u8>, read: usize },
    /// Bytes that were handed over, and their length then.
    Moved { bytes: Bytes, held: usize },
}

impl Chunk {
    fn unread(&self) -> &[u8] {
        match self {
            Self::Copied { data, read } => &data[*read..],
            Self::Moved { bytes, .. } => bytes,
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Copied { data, .. } => data.capacity(),
            Self::Moved { held, .. } => *held,
        }
    }

    fn spare(&self) -> usize {
        match self {
            Self::Copied { data, .. } => data.capacity() - data.len(),
            Self::Moved { .. } => 0,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Copied { read, .. } => *read += n,
            Self::Moved { bytes, .. } => bytes.advance(n),
        }
    }
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { chunks: VecDeque::new(), held: 0, len: 0, limit: limit.max(1), full: false }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Copies what fits of `bytes` and says how much that was.
    pub(super) fn push_slice(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.full {
            let spare = self.chunks.back().map_or(0, Chunk::spare);
            if spare == 0 {
                self.add_chunk(rest.len());
                continue;
            }
            let Some(Chunk::Copied { data, .. }) = self.chunks.back_mut() else { break };
            let n = spare.min(rest.len());
            data.extend_from_slice(&rest[..n]);
            self.len += n;
            rest = &rest[n..];
            self.note_high_watermark();
        }
        bytes.len() - rest.len()
    }

    /// [`push_slice`](Self::push_slice) of each in turn.
    pub(super) fn push_slices(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut pushed = 0;
        for slice in slices {
            let n = self.push_slice(slice);
            pushed += n;
            if n < slice.len() {
                break;
            }
        }
        pushed
    }

    /// Takes what fits off the front of `bytes` and says how much that was: by moving it where it is large, by copying
    /// it where it is small.
    pub(super) fn push_bytes(&mut self, bytes: &mut Bytes) -> usize {
        let room = self.limit.saturating_sub(self.held);
        let movable = bytes.len().min(room);
        if movable < MOVE_FROM {
            let n = self.push_slice(bytes);
            bytes.advance(n);
            return n;
        }
        if self.full {
            return 0;
        }
        let moved = bytes.split_to(movable);
        self.len += movable;
        self.held += movable;
        self.chunks.push_back(Chunk::Moved { bytes: moved, held: movable });
        self.note_high_watermark();
        movable
    }

    /// What can be read without a copy from the front: never empty while [`len`](Self::len) is not zero.
    pub(super) fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], Chunk::unread)
    }

    /// The pieces that can be read, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(Chunk::unread)
    }

    /// Drops `n` bytes of [`front`](Self::front), which must have them. Says whether writers may go on now who could
    /// not before.
    pub(super) fn consume(&mut self, n: usize) -> bool {
        let Some(front) = self.chunks.front_mut() else { return false };
        front.advance(n);
        self.len -= n;
        if front.unread().is_empty() {
            self.drop_front();
        }
        self.note_low_watermark()
    }

    /// Takes the first chunk as it lies, at most `max` bytes of it. The second value is that of
    /// [`consume`](Self::consume).
    pub(super) fn pop_bytes(&mut self, max: usize) -> (Bytes, bool) {
        match self.chunks.pop_front() {
            None => (Bytes::new(), false),
            Some(Chunk::Copied { data, read }) => {
                self.held -= data.capacity();
                let mut bytes = Bytes::from(data);
                bytes.advance(read);
                self.pop_moved(bytes, max)
            }
            Some(Chunk::Moved { bytes, held }) => {
                self.held -= held;
                self.pop_moved(bytes, max)
            }
        }
    }

    fn pop_moved(&mut self, mut bytes: Bytes, max: usize) -> (Bytes, bool) {
        let taken = bytes.split_to(bytes.len().min(max));
        self.len -= taken.len();
        if !bytes.is_empty() {
            self.held += bytes.len();
            let held = bytes.len();
            self.chunks.push_front(Chunk::Moved { bytes, held });
        }
        (taken, self.note_low_watermark())
    }

    fn add_chunk(&mut self, wanted: usize) {
        let room = self.limit.saturating_sub(self.held);
        let last = self.chunks.back().map_or(0, Chunk::held);
        let largest = MAX_CHUNK.min((self.limit / 4).max(1));
        let capacity = wanted.max(MIN_CHUNK).max(last * 2).min(largest).min(room);
        if capacity == 0 {
            self.full = true;
            return;
        }
        let data = Vec::with_capacity(capacity);
        self.held += data.capacity();
        self.chunks.push_back(Chunk::Copied { data, read: 0 });
    }

    fn drop_front(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.held -= chunk.held();
        }
        if self.chunks.is_empty() {
            // An idle connection holds no memory.
            self.chunks = VecDeque::new();
        }
    }

    fn note_high_watermark(&mut self) {
        self.full = self.held >= self.limit && self.chunks.back().map_or(0, Chunk::spare) == 0;
    }

    fn note_low_watermark(&mut self) -> bool {
        let was_full = self.full;
        self.full = was_full && self.held > self.limit / 2;
        was_full && !self.full
    }
}
