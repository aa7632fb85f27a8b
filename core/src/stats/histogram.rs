//! Histograms: how numbers are distributed.

mod bins;
mod buckets;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use bins::{Bin, Bins};
pub use buckets::{BucketBounds, BucketSettings};

use super::cells::current_row;
use super::registry::{Listed, Name};
use super::snapshot::HistogramView;

/// What the numbers of a histogram mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Unspecified,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
}

/// How numbers are distributed, as `upstream_cx_length_ms`.
///
/// A small handle: clones record into the same histogram. The default one records nothing.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Option<Arc<HistogramState>>);

impl Histogram {
    pub(super) fn new(state: Option<Arc<HistogramState>>) -> Self {
        Self(state)
    }

    /// Records one number, in the unit of the histogram. Views show it after the next merge.
    pub fn record(&self, value: u64) {
        if let Some(state) = &self.0 {
            state.record(value);
        }
    }
}

/// The histogram itself, shared by its handles.
#[derive(Debug)]
pub(super) struct HistogramState {
    name: Name,
    unit: Unit,
    bounds: Arc<[f64]>,
    row_count: usize,
    /// What each worker recorded since the last merge. Most histograms never see a number, so these come with the first.
    rows: OnceLock<Box<[Row]>>,
    used: AtomicBool,
    merged: Mutex<Merged>,
}

/// One worker's part. Its lock is contended only by a merge.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Row(Mutex<Bins>);

#[derive(Debug, Default)]
struct Merged {
    interval: Bins,
    cumulative: Bins,
}

impl HistogramState {
    pub(super) fn new(name: Name, unit: Unit, bounds: Arc<[f64]>, row_count: usize) -> Self {
        let (rows, used, merged) = (OnceLock::new(), AtomicBool::new(false), Mutex::default());
        Self { name, unit, bounds, row_count, rows, used, merged }
    }

    fn record(&self, value: u64) {
        let rows =
            self.rows.get_or_init(|| std::iter::repeat_with(Row::default).take(self.row_count).collect());
        let row = &rows[current_row(rows.len())];
        row.0.lock().unwrap_or_else(PoisonError::into_inner).insert(value);
    }

    /// Makes what was recorded since the last merge the interval, and adds it to the total.
    pub(super) fn merge(&self) {
        let Some(rows) = self.rows.get() else { return };
        let mut interval = Bins::default();
        for row in rows {
            interval.merge(&std::mem::take(&mut *row.0.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        self.used.store(true, Ordering::Relaxed);
        let mut merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        merged.cumulative.merge(&interval);
        merged.interval = interval;
    }

    /// Whether a recorded number was ever merged, and what it holds.
    pub(super) fn view(&self) -> (bool, HistogramView) {
        let merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        let view = HistogramView {
            unit: self.unit,
            interval: merged.interval.clone(),
            cumulative: merged.cumulative.clone(),
            bounds: Arc::clone(&self.bounds),
        };
        (self.used.load(Ordering::Relaxed), view)
    }
}

impl Listed for HistogramState {
    fn name(&self) -> &Name {
        &self.name
    }
}
