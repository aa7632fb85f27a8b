//! `/stats?format=json`.

use std::fmt::Write;

use super::number::shortest;
use super::{Bucket, HistogramBuckets, PERCENTILES, Query, StatKind};
use crate::stats::{Bins, HistogramView, Snapshot, Stat};

/// One object: a list of `{"name", "value"}`, whose last element holds the histograms, if there are any.
pub fn json(snapshot: &Snapshot, query: &Query) -> String {
    let mut entries = Vec::new();
    if query.kind.shows(StatKind::TextReadouts) {
        for stat in snapshot.text_readouts.iter().filter(|stat| query.shows(stat)) {
            entries.push(format!(r#"{{"name":{},"value":{}}}"#, name(stat), quoted(&stat.value)));
        }
    }
    for stat in super::counters_and_gauges(snapshot, query) {
        entries.push(format!(r#"{{"name":{},"value":{}}}"#, name(stat), stat.value));
    }
    if query.kind.shows(StatKind::Histograms) {
        let shown: Vec<_> = snapshot.histograms.iter().filter(|stat| query.shows(stat)).collect();
        if !shown.is_empty() {
            entries.push(format!(r#"{{"histograms":{}}}"#, histograms(&shown, query.buckets)));
        }
    }
    format!(r#"{{"stats":[{}]}}"#, entries.join(","))
}

fn histograms(stats: &[&Stat<HistogramView>], mode: HistogramBuckets) -> String {
    let each = |body: &dyn Fn(&HistogramView) -> String| {
        list(stats.iter().map(|stat| format!(r#"{{"name":{},{}}}"#, name(stat), body(&stat.value))))
    };
    let supported = list(PERCENTILES.iter().map(|&text| text.to_owned()));
    match mode {
        HistogramBuckets::Unset | HistogramBuckets::Summary => format!(
            r#"{{"supported_quantiles":{supported},"computed_quantiles":{}}}"#,
            each(&|view| format!(r#""values":{}"#, quantiles(view)))
        ),
        HistogramBuckets::Cumulative => {
            each(&|view| format!(r#""buckets":{}"#, buckets(super::cumulative_buckets(view))))
        }
        HistogramBuckets::Disjoint => {
            each(&|view| format!(r#""buckets":{}"#, buckets(super::disjoint_buckets(view))))
        }
        HistogramBuckets::Detailed => {
            format!(r#"{{"supported_percentiles":{supported},"details":{}}}"#, each(&details))
        }
    }
}

fn details(view: &HistogramView) -> String {
    let (totals, intervals) = (bins(&view.cumulative), bins(&view.interval));
    format!(r#""totals":{totals},"intervals":{intervals},"percentiles":{}"#, quantiles(view))
}

fn quantiles(view: &HistogramView) -> String {
    list(super::quantiles(view).iter().map(|&(interval, total)| {
        format!(r#"{{"cumulative":{},"interval":{}}}"#, number(total), number(interval))
    }))
}

fn buckets(buckets: impl Iterator<Item = Bucket>) -> String {
    list(buckets.map(|(bound, interval, total)| {
        format!(r#"{{"upper_bound":{},"interval":{interval},"cumulative":{total}}}"#, number(bound))
    }))
}

fn bins(bins: &Bins) -> String {
    list(bins.iter().map(|(bin, count)| {
        format!(r#"{{"lower_bound":{},"width":{},"count":{count}}}"#, number(bin.left()), number(bin.width()))
    }))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn number(value: f64) -> String {
    if value.is_finite() { shortest(value) } else { "null".to_owned() }
}

fn name<V>(stat: &Stat<V>) -> String {
    quoted(stat.name.as_str())
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            // Writing to a string does not fail.
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
