//! The buckets in which histograms are shown: a coarser grid than the bins in which they are kept.

use std::sync::Arc;

use crate::matcher::StringMatcher;

/// Envoy's default upper bounds; the unit is that of the histogram.
const DEFAULT_BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// One entry of `stats_config.histogram_bucket_settings`.
#[derive(Debug, Clone)]
pub struct BucketBounds {
    /// The names that these bounds are for.
    pub names: StringMatcher,
    /// The upper bounds, rising.
    pub bounds: Vec<f64>,
}

/// Which upper bounds each histogram has.
#[derive(Debug)]
pub struct BucketSettings {
    special: Vec<(StringMatcher, Arc<[f64]>)>,
    default: Arc<[f64]>,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl BucketSettings {
    /// These bounds, of which the first that matches counts, and Envoy's default ones for all other histograms.
    pub fn new(special: Vec<BucketBounds>) -> Self {
        let special = special.into_iter().map(|entry| (entry.names, entry.bounds.into())).collect();
        Self { special, default: DEFAULT_BOUNDS.into() }
    }

    /// The bounds of the histogram of that full name.
    pub(in crate::stats) fn bounds_of(&self, full_name: &str) -> Arc<[f64]> {
        let special = self.special.iter().find(|(names, _)| names.matches(full_name));
        Arc::clone(special.map_or(&self.default, |(_, bounds)| bounds))
    }
}
