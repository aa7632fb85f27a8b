//! What all stats were at one moment.

use std::sync::Arc;

use super::histogram::{Bins, Unit};
use super::name::StatName;

/// All stats of a store, each kind sorted by name.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The counters.
    pub counters: Vec<Stat<u64>>,
    /// The gauges.
    pub gauges: Vec<Stat<u64>>,
    /// The histograms, as they were at the last merge.
    pub histograms: Vec<Stat<HistogramView>>,
    /// The text readouts.
    pub text_readouts: Vec<Stat<String>>,
}

/// One stat and its value.
#[derive(Debug, Clone)]
pub struct Stat<V> {
    /// Its name.
    pub name: Arc<StatName>,
    /// Whether anybody ever wrote it.
    pub used: bool,
    /// Its value.
    pub value: V,
}

/// What a histogram holds.
#[derive(Debug, Clone)]
pub struct HistogramView {
    /// What the numbers mean.
    pub unit: Unit,
    /// What was recorded between the last two merges.
    pub interval: Bins,
    /// What was recorded since the start.
    pub cumulative: Bins,
    /// The upper bounds of the buckets that Prometheus is shown.
    pub bounds: Arc<[f64]>,
}
