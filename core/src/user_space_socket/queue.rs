//! One direction of a pair: a queue of bytes that counts the memory it holds.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

/// The first chunk of copied bytes is at least this large; the next ones double.
const MIN_CHUNK: usize = 512;
/// And at most this large, so that memory is given back in steps while the reader drains.
const MAX_CHUNK: usize = 64 * 1024;
/// Owned bytes shorter than this are copied: the copy is cheaper than the memory that a small slice may pin.
const MOVE_FROM: usize = 8 * 1024;

/// Bytes on their way, between a high watermark (the limit) and a low one (half of it).
///
/// Once the memory reaches the limit the queue is full, and it stays so until the reader has drained it to the low
/// watermark: a writer is woken once for a good stretch rather than for every read (Envoy's user-space socket does the
/// same).
#[derive(Debug)]
pub(super) struct Queue {
    chunks: VecDeque<Chunk>,
    /// Bytes that can be read.
    len: usize,
    /// Memory of all chunks, including what is read already or not yet written.
    held: usize,
    limit: usize,
    full: bool,
}

#[derive(Debug)]
enum Chunk {
    /// Copied bytes, read up to `read`. The last chunk of a queue is filled up before another one is made.
    Copied { data: Vec<u8>, read: usize },
    /// Bytes that were handed over, and their length at that time.
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

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Copied { data, read } => {
                let mut bytes = Bytes::from(data);
                bytes.advance(read);
                bytes
            }
            Self::Moved { bytes, .. } => bytes,
        }
    }
}

impl Queue {
    /// An empty queue that holds at most `limit` bytes of memory, and at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { chunks: VecDeque::new(), len: 0, held: 0, limit: limit.max(1), full: false }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether writers must wait. While it is not full, at least one byte can be pushed.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Copies what fits of `bytes` and says how much that was.
    pub(super) fn push_slice(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.full {
            if self.spare() == 0 {
                self.add_chunk(rest.len());
            }
            let Some(Chunk::Copied { data, .. }) = self.chunks.back_mut() else { break };
            let n = rest.len().min(data.capacity() - data.len());
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
        let movable = bytes.len().min(self.room());
        if self.full || movable < MOVE_FROM {
            let n = self.push_slice(bytes);
            bytes.advance(n);
            return n;
        }
        let moved = bytes.split_to(movable);
        self.len += movable;
        self.held += movable;
        self.chunks.push_back(Chunk::Moved { bytes: moved, held: movable });
        self.note_high_watermark();
        movable
    }

    /// Copies what can be read into `buf` and leaves it here.
    pub(super) fn peek_into(&self, buf: &mut ReadBuf<'_>) {
        for chunk in &self.chunks {
            let n = chunk.unread().len().min(buf.remaining());
            buf.put_slice(&chunk.unread()[..n]);
        }
    }

    /// Moves what can be read into `buf`. Says whether this brought a full queue down to its low watermark.
    pub(super) fn read_into(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        while buf.remaining() > 0 {
            let Some(front) = self.chunks.front_mut() else { break };
            let n = front.unread().len().min(buf.remaining());
            buf.put_slice(&front.unread()[..n]);
            front.advance(n);
            self.len -= n;
            if front.unread().is_empty() {
                self.take_front();
            }
        }
        self.note_low_watermark()
    }

    /// Whether the first chunk is better handed over than copied: it does not pin much more memory than it has bytes.
    pub(super) fn front_is_dense(&self) -> bool {
        self.chunks.front().is_none_or(|chunk| chunk.unread().len() >= chunk.held() / 2)
    }

    /// Takes the first chunk as it lies, at most `max` bytes of it. The second value is that of
    /// [`read_into`](Self::read_into).
    pub(super) fn pop_bytes(&mut self, max: usize) -> (Bytes, bool) {
        let Some(chunk) = self.take_front() else { return (Bytes::new(), false) };
        let mut rest = chunk.into_bytes();
        let taken = rest.split_to(rest.len().min(max));
        self.len -= taken.len();
        if !rest.is_empty() {
            let held = rest.len();
            self.held += held;
            self.chunks.push_front(Chunk::Moved { bytes: rest, held });
        }
        (taken, self.note_low_watermark())
    }

    /// Memory that may still be taken.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.held)
    }

    /// Memory of the last chunk that is taken and can still be written.
    fn spare(&self) -> usize {
        self.chunks.back().map_or(0, Chunk::spare)
    }

    fn add_chunk(&mut self, wanted: usize) {
        let last = self.chunks.back().map_or(0, Chunk::held);
        // A quarter of a small limit: a chunk is given back as a whole, and a reader shall not have to empty the queue.
        let largest = MAX_CHUNK.min((self.limit / 4).max(1));
        let capacity = wanted.max(MIN_CHUNK).max(last * 2).min(largest).min(self.room());
        let data = Vec::with_capacity(capacity);
        self.held += data.capacity();
        self.chunks.push_back(Chunk::Copied { data, read: 0 });
    }

    fn take_front(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.held -= chunk.held();
        if self.chunks.is_empty() {
            // An idle connection holds no memory.
            self.chunks = VecDeque::new();
        }
        Some(chunk)
    }

    fn note_high_watermark(&mut self) {
        self.full = self.room() == 0 && self.spare() == 0;
    }

    fn note_low_watermark(&mut self) -> bool {
        let was_full = self.full;
        self.full = was_full && self.held > self.limit / 2;
        was_full && !self.full
    }
}
