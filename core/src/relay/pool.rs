//! What relays of one worker lend each other: buffers, and pipes.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::SpliceOptions;
use super::pipe_pool::{Pipe, PipePool};

/// The smallest buffer, which serves requests and key presses.
const SMALLEST: usize = 4 * 1024;
/// 4 KiB doubled six times, 256 KiB: Envoy reads as much at once, and it is what makes bulk cheap.
const SIZES: u8 = 7;
/// A pool keeps no more than this, however many relays there have been.
const KEPT_AT_MOST: usize = 1024 * 1024;

/// So many [`Held`] without a buffer are kept.
const EMPTY_ONES_KEPT: usize = 64;

/// What a direction of a relay has only while bytes wait in it: so that one that waits for bytes is small, it is lent as a whole.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Bytes in memory of somebody else that wait to be written, before those of `buffer`.
    pub(super) chunk: Bytes,
    /// Bytes that were read; those before `written` are written.
    pub(super) buffer: BytesMut,
    pub(super) written: usize,
}

impl Held {
    fn with_buffer(size: BufferSize) -> Self {
        Self { buffer: BytesMut::with_capacity(size.bytes()), ..Self::default() }
    }

    /// Whether bytes wait to be written.
    pub(super) fn has_bytes(&self) -> bool {
        !self.chunk.is_empty() || self.written < self.buffer.len()
    }
}

/// The size of a buffer: a power of two from 4 to 256 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BufferSize(u8);

impl BufferSize {
    /// 4 KiB.
    pub(super) const SMALLEST: Self = Self(0);

    pub(super) const fn bytes(self) -> usize {
        SMALLEST << self.0
    }

    /// Four times as large, but at most the largest that `limit` allows.
    pub(super) fn grown(self, limit: usize) -> Self {
        let mut size = self;
        while size.0 < (self.0 + 2).min(SIZES - 1) && size.bytes() * 2 <= limit {
            size.0 += 1;
        }
        size
    }

    /// A quarter as large.
    pub(super) fn shrunk(self) -> Self {
        Self(self.0.saturating_sub(2))
    }

    /// The size of a buffer that is whole, not one that was handed over in part.
    fn of(buffer: &BytesMut) -> Option<Self> {
        (0..SIZES).map(Self).find(|size| size.bytes() == buffer.capacity())
    }
}

/// A place that relays take buffers and pipes from and give them back to, so that steady traffic allocates nothing and
/// idle connections hold nothing.
///
/// One for each worker; a clone is a handle to the same pool. The default is no pool: buffers are allocated and freed, and
/// there are no pipes.
#[derive(Clone, Default)]
pub struct BufferPool(Option<Rc<Store>>);

#[derive(Default)]
struct Store {
    shelves: RefCell<Shelves>,
    splice: Option<SpliceOptions>,
}

/// Buffers by size, a stack each (the one used last is warm in the cache), and pipes.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "what is lent is the box, as it is")]
struct Shelves {
    by_size: [Vec<Box<Held>>; SIZES as usize],
    kept: usize,
    without_buffer: Vec<Box<Held>>,
    pipes: PipePool,
}

impl BufferPool {
    /// A pool of its own, whose relays splice bulk.
    pub fn new() -> Self {
        Self::with_splice(Some(SpliceOptions::default()))
    }

    /// A pool of its own, whose relays splice as `splice` says, or never without it.
    pub fn with_splice(splice: Option<SpliceOptions>) -> Self {
        Self(Some(Rc::new(Store { shelves: RefCell::default(), splice })))
    }

    /// When to splice, where there are pipes.
    pub(super) fn splice_options(&self) -> Option<SpliceOptions> {
        self.0.as_ref()?.splice
    }

    /// How many bytes of memory it keeps for later.
    pub fn kept(&self) -> usize {
        self.0.as_ref().map_or(0, |store| store.shelves.borrow().kept)
    }

    /// With a buffer of that size.
    #[expect(clippy::unnecessary_box_returns, reason = "what is lent is the box, as it is")]
    pub(super) fn take(&self, size: BufferSize) -> Box<Held> {
        let kept = self.0.as_ref().and_then(|store| store.shelves.borrow_mut().take(size));
        kept.unwrap_or_else(|| Box::new(Held::with_buffer(size)))
    }

    /// Without a buffer, for bytes that somebody else has in memory.
    #[expect(clippy::unnecessary_box_returns, reason = "what is lent is the box, as it is")]
    pub(super) fn take_empty(&self) -> Box<Held> {
        let kept = self.0.as_ref().and_then(|store| store.shelves.borrow_mut().without_buffer.pop());
        kept.unwrap_or_default()
    }

    pub(super) fn give(&self, held: Box<Held>) {
        if let Some(store) = &self.0 {
            store.shelves.borrow_mut().give(held);
        }
    }

    /// A pipe of `size` bytes, at least `least`. None if there is none to be had.
    pub(super) fn take_pipe(&self, size: usize, least: usize) -> Option<Box<Pipe>> {
        self.0.as_ref()?.shelves.borrow_mut().pipes.take(size, least)
    }

    pub(super) fn give_pipe(&self, pipe: Box<Pipe>) {
        if let Some(store) = &self.0 {
            store.shelves.borrow_mut().pipes.give(pipe);
        }
    }

    /// How many pipes it keeps for later, and how many are lent.
    #[cfg(test)]
    pub(super) fn pipes(&self) -> (usize, usize) {
        self.0.as_ref().map_or((0, 0), |store| store.shelves.borrow().pipes.counts())
    }
}

impl Shelves {
    fn take(&mut self, size: BufferSize) -> Option<Box<Held>> {
        if let Some(held) = self.by_size[usize::from(size.0)].pop() {
            self.kept -= size.bytes();
            return Some(held);
        }
        let mut held = self.without_buffer.pop()?;
        held.buffer = BytesMut::with_capacity(size.bytes());
        Some(held)
    }

    fn give(&mut self, mut held: Box<Held>) {
        held.chunk = Bytes::new();
        held.written = 0;
        let size = BufferSize::of(&held.buffer).filter(|size| self.kept + size.bytes() <= KEPT_AT_MOST);
        if let Some(size) = size {
            held.buffer.clear();
            self.kept += size.bytes();
            self.by_size[usize::from(size.0)].push(held);
        } else if self.without_buffer.len() < EMPTY_ONES_KEPT {
            held.buffer = BytesMut::new();
            self.without_buffer.push(held);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("kept", &self.kept()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_fourfold_within_the_limit() {
        let grow = |limit| {
            let mut size = BufferSize::SMALLEST;
            let mut sizes = vec![size.bytes() / 1024];
            while size.grown(limit) != size {
                size = size.grown(limit);
                sizes.push(size.bytes() / 1024);
            }
            sizes
        };
        assert_eq!(grow(1024 * 1024), [4, 16, 64, 256]);
        assert_eq!(grow(32 * 1024), [4, 16, 32]);
        assert_eq!(grow(1), [4]);
    }

    #[test]
    fn a_buffer_that_was_given_back_is_lent_again() {
        let pool = BufferPool::new();
        let mut held = pool.take(BufferSize::SMALLEST);
        held.buffer.extend_from_slice(b"old");
        let address = held.buffer.as_ptr();
        pool.give(held);
        assert_eq!(pool.kept(), 4096);
        let again = pool.take(BufferSize::SMALLEST).buffer;
        assert_eq!((again.as_ptr(), again.len(), pool.kept()), (address, 0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = BufferPool::new();
        let large = BufferSize::SMALLEST.grown(usize::MAX).grown(usize::MAX).grown(usize::MAX);
        let lent: Vec<_> = (0..10).map(|_| pool.take(large)).collect();
        lent.into_iter().for_each(|held| pool.give(held));
        assert_eq!(pool.kept(), KEPT_AT_MOST);
    }

    #[test]
    fn a_rest_of_a_buffer_is_not_kept() {
        let pool = BufferPool::new();
        let mut held = pool.take(BufferSize::SMALLEST);
        held.buffer.extend_from_slice(b"handed over");
        let _moved = held.buffer.split();
        pool.give(held);
        assert_eq!(pool.kept(), 0);
    }
}
