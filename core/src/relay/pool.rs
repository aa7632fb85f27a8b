//! What relays of one worker lend each other: buffers, and pipes.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::BytesMut;

use super::SpliceOptions;
use super::pipe_pool::{Pipe, PipePool};

/// The smallest buffer, which serves requests and key presses.
const SMALLEST: usize = 4 * 1024;
/// 4 KiB doubled six times, 256 KiB: Envoy reads as much at once, and it is what makes bulk cheap.
const SIZES: u8 = 7;
/// A pool keeps no more than this, however many relays there have been.
const KEPT_AT_MOST: usize = 1024 * 1024;

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
struct Shelves {
    by_size: [Vec<BytesMut>; SIZES as usize],
    kept: usize,
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

    pub(super) fn take(&self, size: BufferSize) -> BytesMut {
        let kept = self.0.as_ref().and_then(|store| store.shelves.borrow_mut().take(size));
        kept.unwrap_or_else(|| BytesMut::with_capacity(size.bytes()))
    }

    pub(super) fn give(&self, buffer: BytesMut) {
        if let Some(store) = &self.0 {
            store.shelves.borrow_mut().give(buffer);
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
    fn take(&mut self, size: BufferSize) -> Option<BytesMut> {
        let buffer = self.by_size[usize::from(size.0)].pop()?;
        self.kept -= size.bytes();
        Some(buffer)
    }

    fn give(&mut self, mut buffer: BytesMut) {
        let Some(size) = BufferSize::of(&buffer) else { return };
        if self.kept + size.bytes() <= KEPT_AT_MOST {
            buffer.clear();
            self.kept += size.bytes();
            self.by_size[usize::from(size.0)].push(buffer);
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
        let mut buffer = pool.take(BufferSize::SMALLEST);
        buffer.extend_from_slice(b"old");
        let address = buffer.as_ptr();
        pool.give(buffer);
        assert_eq!(pool.kept(), 4096);
        let again = pool.take(BufferSize::SMALLEST);
        assert_eq!((again.as_ptr(), again.len(), pool.kept()), (address, 0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = BufferPool::new();
        let large = BufferSize::SMALLEST.grown(usize::MAX).grown(usize::MAX).grown(usize::MAX);
        let lent: Vec<_> = (0..10).map(|_| pool.take(large)).collect();
        lent.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.kept(), KEPT_AT_MOST);
    }

    #[test]
    fn a_rest_of_a_buffer_is_not_kept() {
        let pool = BufferPool::new();
        let mut buffer = pool.take(BufferSize::SMALLEST);
        buffer.extend_from_slice(b"handed over");
        let _moved = buffer.split();
        pool.give(buffer);
        assert_eq!(pool.kept(), 0);
    }
}
