//! `/stats` as text: one `name: value` a line.

use std::fmt::Write;

use super::number::general;
use super::{Bucket, HistogramBuckets, PERCENTILES, Query, StatKind};
use crate::stats::{Bins, HistogramView, Snapshot};

/// Text readouts, then counters and gauges, then histograms, each sorted by name.
pub fn text(snapshot: &Snapshot, query: &Query) -> String {
    let mut out = String::new();
    if query.kind.shows(StatKind::TextReadouts) {
        for stat in snapshot.text_readouts.iter().filter(|stat| query.shows(stat)) {
            line(&mut out, format_args!("{}: \"{}\"", stat.name, stat.value));
        }
    }
    for stat in super::counters_and_gauges(snapshot, query) {
        line(&mut out, format_args!("{}: {}", stat.name, stat.value));
    }
    if query.kind.shows(StatKind::Histograms) {
        for stat in snapshot.histograms.iter().filter(|stat| query.shows(stat)) {
            if stat.used {
                histogram(&mut out, stat.name.as_str(), &stat.value, query.buckets);
            } else {
                line(&mut out, format_args!("{}: No recorded values", stat.name));
            }
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

fn histogram(out: &mut String, name: &str, view: &HistogramView, mode: HistogramBuckets) {
    match mode {
        HistogramBuckets::Unset | HistogramBuckets::Summary => {
            line(out, format_args!("{name}: {}", summary(view)));
        }
        HistogramBuckets::Cumulative => {
            line(out, format_args!("{name}: {}", buckets(super::cumulative_buckets(view))));
        }
        HistogramBuckets::Disjoint => {
            line(out, format_args!("{name}: {}", buckets(super::disjoint_buckets(view))));
        }
        HistogramBuckets::Detailed => {
            line(out, format_args!("{name}:\n  totals={}", bins(&view.cumulative)));
            line(out, format_args!("  intervals={}\n  summary={}", bins(&view.interval), summary(view)));
        }
    }
}

/// `P0(1,1) P25(…) …`: interval and total.
fn summary(view: &HistogramView) -> String {
    let values = PERCENTILES.iter().zip(super::quantiles(view));
    let number = |value: f64| if value.is_nan() { "nan".to_owned() } else { value.to_string() };
    let words =
        values.map(|(name, (interval, total))| format!("P{name}({},{})", number(interval), number(total)));
    words.collect::<Vec<_>>().join(" ")
}

/// `B0.5(0,1) B1(…) …`: interval and total.
fn buckets(buckets: impl Iterator<Item = Bucket>) -> String {
    let words = buckets.map(|(bound, interval, total)| format!("B{}({interval},{total})", general(bound, 6)));
    words.collect::<Vec<_>>().join(" ")
}

/// `10,1:2, 11,1:4`: left end, width and count of each bin.
fn bins(bins: &Bins) -> String {
    let word =
        |left: f64, width: f64, count: u64| format!("{},{}:{count}", general(left, 6), general(width, 6));
    bins.iter().map(|(bin, count)| word(bin.left(), bin.width(), count)).collect::<Vec<_>>().join(", ")
}
