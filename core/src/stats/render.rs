//! How `/stats` and `/stats/prometheus` print a snapshot: as text, as JSON and for Prometheus.

mod json;
mod number;
mod prometheus;
mod query;
mod text;

pub use json::json;
pub use prometheus::prometheus;
pub use query::{Format, HistogramBuckets, Query, QueryError, StatKind};
pub use text::text;

use super::{Bins, HistogramView, Snapshot, Stat};

/// The quantiles that are shown of each histogram, as fractions.
const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];
/// The same as Envoy prints them, in percent.
const PERCENTILES: [&str; 10] = ["0", "25", "50", "75", "90", "95", "99", "99.5", "99.9", "100"];

/// The snapshot in the format that the query asks for.
pub fn render(snapshot: &Snapshot, query: &Query) -> Result<String, QueryError> {
    match query.format {
        Format::Text => Ok(text(snapshot, query)),
        Format::Json => Ok(json(snapshot, query)),
        Format::Prometheus => prometheus(snapshot, query),
    }
}

/// Counters and gauges that the query asks for, in one list, sorted by name.
fn counters_and_gauges<'a>(snapshot: &'a Snapshot, query: &Query) -> Vec<&'a Stat<u64>> {
    let counters = snapshot.counters.iter().filter(|_| query.kind.shows(StatKind::Counters));
    let gauges = snapshot.gauges.iter().filter(|_| query.kind.shows(StatKind::Gauges));
    let mut both: Vec<_> = counters.chain(gauges).filter(|stat| query.shows(stat)).collect();
    both.sort_by_key(|stat| stat.name.as_str());
    both
}

/// For each quantile, what it is in the interval and since the start.
fn quantiles(view: &HistogramView) -> [(f64, f64); 10] {
    QUANTILES.map(|quantile| (view.interval.quantile(quantile), view.cumulative.quantile(quantile)))
}

/// One bucket of a histogram: its upper bound, and what it counted in the interval and since the start.
type Bucket = (f64, u64, u64);

/// The buckets, each with all that lies below its bound.
fn cumulative_buckets(view: &HistogramView) -> impl Iterator<Item = Bucket> + '_ {
    let below = |bins: &Bins, bound| bins.count_below(bound);
    view.bounds
        .iter()
        .map(move |&bound| (bound, below(&view.interval, bound), below(&view.cumulative, bound)))
}

/// The buckets, each with what lies between the bound before and its own.
fn disjoint_buckets(view: &HistogramView) -> impl Iterator<Item = Bucket> + '_ {
    cumulative_buckets(view).scan((0, 0), |before, (bound, interval, cumulative)| {
        let bucket = (bound, interval.saturating_sub(before.0), cumulative.saturating_sub(before.1));
        *before = (interval, cumulative);
        Some(bucket)
    })
}

#[cfg(test)]
mod tests;
