//! Counters: numbers that only grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::cells::Cells;
use super::registry::{Listed, Name};

/// A number that only grows, as `upstream_cx_total` does.
///
/// A small handle: clones count into the same number. The default one counts into nothing; so does the handle of a
/// stat that `stats_config` turns off.
#[derive(Debug, Clone, Default)]
pub struct Counter(Option<Arc<CounterState>>);

/// The number itself, shared by its handles.
#[derive(Debug)]
pub(super) struct CounterState {
    name: Name,
    cells: Cells,
    used: AtomicBool,
    /// What the sum was at the last reset.
    base: AtomicU64,
    /// What the sum was at the last latch.
    latched: AtomicU64,
}

impl Counter {
    pub(super) fn new(state: Option<Arc<CounterState>>) -> Self {
        Self(state)
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        if let Some(state) = &self.0 {
            mark_used(&state.used);
            state.cells.add(amount);
        }
    }

    /// The sum over all threads since the last [`reset`](Self::reset).
    pub fn value(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| state.value())
    }

    /// Starts again at zero (`POST /reset_counters`).
    pub fn reset(&self) {
        if let Some(state) = &self.0 {
            state.reset();
        }
    }

    /// What was added since the last latch; for sinks that send differences.
    pub fn latch(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| {
            let sum = state.cells.sum();
            sum.wrapping_sub(state.latched.swap(sum, Ordering::Relaxed))
        })
    }

    /// Whether anything was ever added, be it zero.
    pub fn used(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.used())
    }
}

impl CounterState {
    pub(super) fn new(name: Name, cells: Cells) -> Self {
        Self {
            name,
            cells,
            used: AtomicBool::new(false),
            base: AtomicU64::new(0),
            latched: AtomicU64::new(0),
        }
    }

    pub(super) fn value(&self) -> u64 {
        self.cells.sum().wrapping_sub(self.base.load(Ordering::Relaxed))
    }

    pub(super) fn reset(&self) {
        // Workers own their cells, so the reset is a new base instead of a write into them.
        self.base.store(self.cells.sum(), Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

impl Listed for CounterState {
    fn name(&self) -> &Name {
        &self.name
    }
}

/// Sets a flag that is nearly always set already, without writing its line then.
pub(super) fn mark_used(used: &AtomicBool) {
    if !used.load(Ordering::Relaxed) {
        used.store(true, Ordering::Relaxed);
    }
}
