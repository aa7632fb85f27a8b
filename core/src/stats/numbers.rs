//! Counters and gauges: the memory they share, and the list of those that are alive.
//!
//! A cluster has more than a hundred, of which most are never touched, so what they have in common (prefix, tags, the list's entry)
//! is there once for a [`Block`]: all stats that were declared together below one prefix. A stat that was asked for by its own
//! name is a block of one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use super::{
    cells::{CellPool, Cells, Place},
    tags::{TagRules, Tagged},
};

/// What a number is. Counters and gauges may have the same name.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// There is none at this place: what is declared there is no number.
    None,
}

/// Numbers that are declared together. Lists are told apart by their address.
#[doc(hidden)]
pub type Declared = &'static [(NumberKind, &'static str)];

/// Somebody wrote it.
const USED: u8 = 1;
/// All 64 bits of the gauge count, as those of a hash do.
const UNSIGNED: u8 = 2;

/// Below this length the list is not searched for dead entries.
const SMALL: usize = 1024;

/// Numbers below one prefix.
#[derive(Debug)]
pub(super) struct Block {
    /// Empty, or with a dot at its end.
    prefix: Arc<str>,
    names: Names,
    cells: Cells,
    flags: Box<[AtomicU8]>,
    /// Since hardly anybody resets or latches, these come with the first who does.
    bases: OnceLock<Box<[Base]>>,
    /// Tags are extracted when somebody first asks, since most processes are never scraped for them.
    tagged: OnceLock<Box<[OnceLock<Tagged>]>>,
    tags: Arc<TagRules>,
}

#[derive(Debug)]
enum Names {
    Declared(Declared),
    One(NumberKind, Box<str>),
}

#[derive(Debug, Default)]
struct Base {
    /// What the sum was at the last reset.
    reset: AtomicU64,
    /// What it was at the last latch.
    latched: AtomicU64,
}

impl Block {
    fn len(&self) -> usize {
        self.flags.len()
    }

    fn name(&self, index: usize) -> (NumberKind, &str) {
        match &self.names {
            Names::Declared(names) => names[index],
            Names::One(kind, name) => (*kind, name),
        }
    }

    fn position(&self, kind: NumberKind, name: &str) -> Option<usize> {
        (0..self.len()).find(|index| self.name(*index) == (kind, name))
    }

    pub(super) fn full_name(&self, index: usize) -> Box<str> {
        format!("{}{}", self.prefix, self.name(index).1).into()
    }

    pub(super) fn tagged(&self, index: usize, full_name: &str) -> &Tagged {
        let all = self.tagged.get_or_init(|| (0..self.len()).map(|_| OnceLock::new()).collect());
        all[index].get_or_init(|| self.tags.extract(full_name))
    }

    fn base(&self, index: usize) -> &Base {
        &self.bases.get_or_init(|| (0..self.len()).map(|_| Base::default()).collect())[index]
    }

    fn sum(&self, index: usize) -> u64 {
        self.cells.place(index).sum()
    }

    fn flag(&self, index: usize, flag: u8) -> bool {
        self.flags[index].load(Ordering::Relaxed) & flag != 0
    }

    fn value(&self, index: usize) -> u64 {
        let reset = self.bases.get().map_or(0, |bases| bases[index].reset.load(Ordering::Relaxed));
        let value = self.sum(index).wrapping_sub(reset);
        if self.name(index).0 != NumberKind::Gauge || self.flag(index, UNSIGNED) {
            return value;
        }
        // The sum of differences is a signed number in disguise.
        u64::try_from(value.cast_signed()).unwrap_or(0)
    }

    fn reset(&self, index: usize) {
        // Workers own their cells, so the reset is a new base instead of a write into them.
        self.base(index).reset.store(self.sum(index), Ordering::Relaxed);
    }
}

/// One number of a block, for its handles.
#[derive(Debug)]
pub(super) struct Number {
    place: Place,
    block: Arc<Block>,
    index: u32,
    /// Whether the block knows that it was used, so that its memory need not be looked at each time.
    used: AtomicBool,
}

impl Number {
    pub(super) fn new(block: Arc<Block>, index: usize) -> Arc<Self> {
        let place = block.cells.place(index);
        // Nobody declares four billion stats.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Arc::new(Self { place, block, index, used: AtomicBool::new(false) })
    }

    fn index(&self) -> usize {
        self.index as usize
    }

    pub(super) fn add(&self, amount: u64) {
        self.mark_used();
        self.place.add(amount);
    }

    pub(super) fn set_sum(&self, value: u64) {
        self.mark_used();
        self.place.set_sum(value);
    }

    pub(super) fn set_unsigned(&self) {
        self.block.flags[self.index()].fetch_or(UNSIGNED, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.block.value(self.index())
    }

    pub(super) fn reset(&self) {
        self.block.reset(self.index());
    }

    /// What was added since the last latch.
    pub(super) fn latch(&self) -> u64 {
        let sum = self.place.sum();
        sum.wrapping_sub(self.block.base(self.index()).latched.swap(sum, Ordering::Relaxed))
    }

    pub(super) fn used(&self) -> bool {
        self.block.flag(self.index(), USED)
    }

    pub(super) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.first_use();
        }
    }

    #[cold]
    #[inline(never)]
    fn first_use(&self) {
        self.used.store(true, Ordering::Relaxed);
        self.block.flags[self.index()].fetch_or(USED, Ordering::Relaxed);
    }

    pub(super) fn block(&self) -> &Arc<Block> {
        &self.block
    }
}

/// What [`Numbers::declared`] found.
pub(super) enum Found {
    /// They are all in one block.
    Block(Arc<Block>),
    /// Some of them are elsewhere, so each has to be asked for by its name.
    Scattered,
}

/// The counters and gauges of a store. It does not keep them alive.
#[derive(Debug)]
pub(super) struct Numbers {
    cells: CellPool,
    tags: Arc<TagRules>,
    groups: Mutex<Groups>,
}

#[derive(Debug)]
struct Groups {
    by_prefix: BTreeMap<Arc<str>, Group>,
    blocks: usize,
    /// The number of blocks at which dead ones are swept out next, so that sweeping costs little per block.
    sweep_at: usize,
}

/// The blocks below one prefix. A prefix goes to the last dot of a name, so a name can stand nowhere else.
#[derive(Debug, Default)]
struct Group {
    declared: Vec<(usize, Weak<Block>)>,
    counters: BTreeMap<Box<str>, Weak<Block>>,
    gauges: BTreeMap<Box<str>, Weak<Block>>,
}

impl Group {
    fn singles(&mut self, kind: NumberKind) -> &mut BTreeMap<Box<str>, Weak<Block>> {
        if kind == NumberKind::Counter { &mut self.counters } else { &mut self.gauges }
    }

    fn find(&mut self, kind: NumberKind, name: &str) -> Option<(Arc<Block>, usize)> {
        if let Some(single) = self.singles(kind).get(name).and_then(Weak::upgrade) {
            return Some((single, 0));
        }
        self.declared.iter().find_map(|(_, block)| {
            let block = block.upgrade()?;
            let index = block.position(kind, name)?;
            Some((block, index))
        })
    }

    fn blocks(&self) -> impl Iterator<Item = Arc<Block>> {
        let declared = self.declared.iter().map(|(_, block)| block);
        declared.chain(self.counters.values()).chain(self.gauges.values()).filter_map(Weak::upgrade)
    }

    /// Forgets dead blocks; how many are left.
    fn sweep(&mut self) -> usize {
        let lives = |block: &Weak<Block>| block.strong_count() > 0;
        self.declared.retain(|(_, block)| lives(block));
        self.counters.retain(|_, block| lives(block));
        self.gauges.retain(|_, block| lives(block));
        self.declared.len() + self.counters.len() + self.gauges.len()
    }
}

impl Numbers {
    pub(super) fn new(workers: usize, tags: Arc<TagRules>) -> Self {
        let groups = Groups { by_prefix: BTreeMap::new(), blocks: 0, sweep_at: SMALL };
        Self { cells: CellPool::new(workers), tags, groups: Mutex::new(groups) }
    }

    /// Rows of cells: the workers and the shared one.
    pub(super) fn rows(&self) -> usize {
        self.cells.rows()
    }

    /// The live number of that name, or else a new one. `prefix` ends with a dot or is empty; the name may have dots.
    pub(super) fn number(&self, kind: NumberKind, prefix: &Arc<str>, name: &str) -> Arc<Number> {
        let longer: Arc<str>;
        let (prefix, name) = match name.rsplit_once('.') {
            Some((more, last)) => {
                longer = format!("{prefix}{more}.").into();
                (&longer, last)
            }
            None => (prefix, name),
        };
        let mut groups = self.lock();
        let group = groups.group(prefix);
        if let Some((block, index)) = group.find(kind, name) {
            return Number::new(block, index);
        }
        let names = Names::One(kind, name.into());
        let block = self.block(prefix, names, self.cells.take(), 1);
        group.singles(kind).insert(name.into(), Arc::downgrade(&block));
        groups.added();
        Number::new(block, 0)
    }

    /// The numbers of a declaration below `prefix`: those that live, or else new ones.
    pub(super) fn declared(&self, prefix: &Arc<str>, names: Declared) -> Found {
        let mut groups = self.lock();
        let group = groups.group(prefix);
        let address = names.as_ptr().addr();
        let same = |(at, block): &(usize, Weak<Block>)| (*at == address).then(|| block.upgrade()).flatten();
        if let Some(block) = group.declared.iter().find_map(same) {
            return Found::Block(block);
        }
        let numbers = names.iter().filter(|(kind, _)| *kind != NumberKind::None);
        if numbers.into_iter().any(|(kind, name)| group.find(*kind, name).is_some()) {
            return Found::Scattered;
        }
        let block =
            self.block(prefix, Names::Declared(names), self.cells.take_many(names.len()), names.len());
        group.declared.push((address, Arc::downgrade(&block)));
        groups.added();
        Found::Block(block)
    }

    fn block(&self, prefix: &Arc<str>, names: Names, cells: Cells, count: usize) -> Arc<Block> {
        Arc::new(Block {
            prefix: Arc::clone(prefix),
            names,
            cells,
            flags: (0..count).map(|_| AtomicU8::new(0)).collect(),
            bases: OnceLock::new(),
            tagged: OnceLock::new(),
            tags: Arc::clone(&self.tags),
        })
    }

    /// Every live number of a kind with its full name, in the order of the names.
    pub(super) fn all(&self, kind: NumberKind) -> Vec<Listed> {
        let groups = self.lock();
        let blocks: Vec<_> = groups.by_prefix.values().flat_map(Group::blocks).collect();
        drop(groups);
        let of_block = |block: Arc<Block>| {
            let indices = (0..block.len()).filter(|index| block.name(*index).0 == kind).collect::<Vec<_>>();
            indices.into_iter().map(move |index| Listed {
                name: block.full_name(index),
                block: Arc::clone(&block),
                index,
            })
        };
        let mut all: Vec<_> = blocks.into_iter().flat_map(of_block).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Groups {
    fn group(&mut self, prefix: &Arc<str>) -> &mut Group {
        if !self.by_prefix.contains_key(prefix) {
            self.by_prefix.insert(Arc::clone(prefix), Group::default());
        }
        self.by_prefix.entry(Arc::clone(prefix)).or_default()
    }

    fn added(&mut self) {
        self.blocks += 1;
        if self.blocks >= self.sweep_at {
            self.blocks = 0;
            self.by_prefix.retain(|_, group| {
                let left = group.sweep();
                self.blocks += left;
                left > 0
            });
            self.sweep_at = SMALL.max(2 * self.blocks);
        }
    }
}

/// A live number and its name.
pub(super) struct Listed {
    pub(super) name: Box<str>,
    pub(super) block: Arc<Block>,
    pub(super) index: usize,
}

impl Listed {
    pub(super) fn used(&self) -> bool {
        self.block.flag(self.index, USED)
    }

    pub(super) fn value(&self) -> u64 {
        self.block.value(self.index)
    }

    pub(super) fn reset(&self) {
        self.block.reset(self.index);
    }
}
