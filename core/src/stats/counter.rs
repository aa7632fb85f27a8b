//! Counters: numbers that only grow.

use std::sync::Arc;

use super::numbers::Number;

/// A number that only grows, as `upstream_cx_total` does.
///
/// A small handle: clones count into the same number. The default one counts into nothing; so does the handle of a
/// stat that `stats_config` turns off.
#[derive(Debug, Clone, Default)]
pub struct Counter(Option<Arc<Number>>);

impl Counter {
    pub(super) fn new(number: Option<Arc<Number>>) -> Self {
        Self(number)
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        if let Some(number) = &self.0 {
            number.add(amount);
        }
    }

    /// The sum over all threads since the last [`reset`](Self::reset).
    pub fn value(&self) -> u64 {
        self.0.as_ref().map_or(0, |number| number.value())
    }

    /// Starts again at zero (`POST /reset_counters`).
    pub fn reset(&self) {
        if let Some(number) = &self.0 {
            number.reset();
        }
    }

    /// What was added since the last latch; for sinks that send differences.
    pub fn latch(&self) -> u64 {
        self.0.as_ref().map_or(0, |number| number.latch())
    }

    /// Whether anything was ever added, be it zero.
    pub fn used(&self) -> bool {
        self.0.as_ref().is_some_and(|number| number.used())
    }
}
