//! Gauges: numbers that go up and down.

use std::sync::Arc;

use super::numbers::Number;

/// A number that goes up and down, as `upstream_cx_active` does.
///
/// A small handle: clones change the same number. The default one changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Option<Arc<Number>>);

impl Gauge {
    pub(super) fn new(number: Option<Arc<Number>>) -> Self {
        Self(number)
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts one.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        if let Some(number) = &self.0 {
            number.add(amount);
        }
    }

    /// Subtracts `amount`. It may have been added by another worker.
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.add(amount.wrapping_neg());
    }

    /// Counts as [used](Self::used), as if one had been added and subtracted at once.
    #[inline]
    pub fn touch(&self) {
        if let Some(number) = &self.0 {
            number.mark_used();
        }
    }

    /// Makes the number `value`. For gauges that describe the whole process and have one writer: what workers add
    /// at the same moment may be lost.
    pub fn set(&self, value: u64) {
        if let Some(number) = &self.0 {
            number.set_sum(value);
        }
    }

    /// The same for numbers that need all 64 bits, such as hashes; nothing may be added to or subtracted from them.
    pub fn set_hash(&self, value: u64) {
        if let Some(number) = &self.0 {
            number.set_unsigned();
        }
        self.set(value);
    }

    /// Adds one now and subtracts it when the returned value is dropped, on every way out.
    pub fn hold(&self) -> GaugeHold {
        self.inc();
        GaugeHold(self.clone())
    }

    /// The sum over all threads; zero where, read in between, more seems to be subtracted than added.
    pub fn value(&self) -> u64 {
        self.0.as_ref().map_or(0, |number| number.value())
    }

    /// Whether the number was ever changed.
    pub fn used(&self) -> bool {
        self.0.as_ref().is_some_and(|number| number.used())
    }
}

/// One that counts in a [`Gauge`] as long as this value lives.
#[derive(Debug)]
#[must_use = "the gauge goes down again when this is dropped"]
pub struct GaugeHold(Gauge);

impl Drop for GaugeHold {
    fn drop(&mut self) {
        self.0.dec();
    }
}
