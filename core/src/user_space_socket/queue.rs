//! One direction of a pair: a queue of bytes that counts the memory it holds.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::{iter, mem};

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
///
/// A queue without bytes is a null pointer and the limit, since an idle hop has two of them.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Option<Box<Waiting>>,
    limit: usize,
}

/// What waits in a queue; there is always a chunk.
#[derive(Debug)]
struct Waiting {
    first: Chunk,
    others: VecDeque<Chunk>,
    /// Bytes that can be read.
    len: usize,
    /// Memory of all chunks, including what is read already or not yet written.
    held: usize,
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

    /// Leaves nothing in its place.
    fn take(&mut self) -> Self {
        mem::replace(self, Self::Moved { bytes: Bytes::new(), held: 0 })
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

impl Waiting {
    fn last(&self) -> &Chunk {
        self.others.back().unwrap_or(&self.first)
    }

    fn last_mut(&mut self) -> &mut Chunk {
        self.others.back_mut().unwrap_or(&mut self.first)
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        iter::once(&self.first).chain(&self.others)
    }
}

impl Queue {
    /// An empty queue that holds at most `limit` bytes of memory, and at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { waiting: None, limit: limit.max(1) }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len)
    }

    pub(super) fn held(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.held)
    }

    /// Whether writers must wait. While it is not full, at least one byte can be pushed.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.full)
    }

    /// Copies what fits of `bytes` and says how much that was.
    pub(super) fn push_slice(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_full() {
            if self.spare() == 0 {
                self.add_chunk(rest.len());
            }
            let Some(waiting) = &mut self.waiting else { break };
            let Chunk::Copied { data, .. } = waiting.last_mut() else { break };
            let n = rest.len().min(data.capacity() - data.len());
            data.extend_from_slice(&rest[..n]);
            waiting.len += n;
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
        if self.is_full() || movable < MOVE_FROM {
            let n = self.push_slice(bytes);
            bytes.advance(n);
            return n;
        }
        self.push_chunk(Chunk::Moved { bytes: bytes.split_to(movable), held: movable }, movable);
        self.note_high_watermark();
        movable
    }

    /// Copies what can be read into `buf` and leaves it here.
    pub(super) fn peek_into(&self, buf: &mut ReadBuf<'_>) {
        for chunk in self.waiting.iter().flat_map(|waiting| waiting.chunks()) {
            let n = chunk.unread().len().min(buf.remaining());
            buf.put_slice(&chunk.unread()[..n]);
        }
    }

    /// Moves what can be read into `buf`. Says whether this brought a full queue down to its low watermark.
    pub(super) fn read_into(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let was_full = self.is_full();
        while buf.remaining() > 0 {
            let Some(waiting) = &mut self.waiting else { break };
            let front = &mut waiting.first;
            let n = front.unread().len().min(buf.remaining());
            buf.put_slice(&front.unread()[..n]);
            front.advance(n);
            waiting.len -= n;
            if waiting.first.unread().is_empty() {
                self.take_front();
            }
        }
        self.note_low_watermark(was_full)
    }

    /// Whether the first chunk is better handed over than copied: it does not pin much more memory than it has bytes.
    pub(super) fn front_is_dense(&self) -> bool {
        let front = self.waiting.as_ref().map(|waiting| &waiting.first);
        front.is_none_or(|chunk| chunk.unread().len() >= chunk.held() / 2)
    }

    /// Takes the first chunk as it lies, at most `max` bytes of it. The second value is that of
    /// [`read_into`](Self::read_into).
    pub(super) fn pop_bytes(&mut self, max: usize) -> (Bytes, bool) {
        let was_full = self.is_full();
        let Some(waiting) = &mut self.waiting else { return (Bytes::new(), false) };
        if waiting.first.unread().len() > max {
            let held = waiting.first.held();
            let mut rest = waiting.first.take().into_bytes();
            let taken = rest.split_to(max);
            waiting.len -= taken.len();
            waiting.held = waiting.held - held + rest.len();
            waiting.first = Chunk::Moved { held: rest.len(), bytes: rest };
            return (taken, self.note_low_watermark(was_full));
        }
        waiting.len -= waiting.first.unread().len();
        let taken = self.take_front().map(Chunk::into_bytes).unwrap_or_default();
        (taken, self.note_low_watermark(was_full))
    }

    /// Memory that may still be taken.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.held())
    }

    /// Memory of the last chunk that is taken and can still be written.
    fn spare(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.last().spare())
    }

    fn add_chunk(&mut self, wanted: usize) {
        let last = self.waiting.as_ref().map_or(0, |waiting| waiting.last().held());
        // A quarter of a small limit: a chunk is given back as a whole, and a reader shall not have to empty the queue.
        let largest = MAX_CHUNK.min((self.limit / 4).max(1));
        let capacity = wanted.max(MIN_CHUNK).max(last * 2).min(largest).min(self.room());
        self.push_chunk(Chunk::Copied { data: Vec::with_capacity(capacity), read: 0 }, 0);
    }

    /// Adds a chunk with `len` bytes in it.
    fn push_chunk(&mut self, chunk: Chunk, len: usize) {
        let held = chunk.held();
        if let Some(waiting) = &mut self.waiting {
            waiting.others.push_back(chunk);
            waiting.len += len;
            waiting.held += held;
        } else {
            let others = VecDeque::new();
            self.waiting = Some(Box::new(Waiting { first: chunk, others, len, held, full: false }));
        }
    }

    /// Takes the first chunk, of which all bytes are accounted for. An idle connection holds no memory.
    fn take_front(&mut self) -> Option<Chunk> {
        let waiting = self.waiting.as_mut()?;
        let Some(next) = waiting.others.pop_front() else {
            return self.waiting.take().map(|waiting| waiting.first);
        };
        waiting.held -= waiting.first.held();
        Some(mem::replace(&mut waiting.first, next))
    }

    fn note_high_watermark(&mut self) {
        let full = self.room() == 0 && self.spare() == 0;
        if let Some(waiting) = &mut self.waiting {
            waiting.full = full;
        }
    }

    fn note_low_watermark(&mut self, was_full: bool) -> bool {
        let limit = self.limit;
        if let Some(waiting) = &mut self.waiting {
            waiting.full = was_full && waiting.held > limit / 2;
        }
        was_full && !self.is_full()
    }
}
