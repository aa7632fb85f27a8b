//! `/stats/prometheus`: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::number::general;
use super::{HistogramBuckets, QUANTILES, Query, QueryError};
use crate::stats::{Bins, HistogramView, Snapshot, Stat, Tag};

/// Counters, gauges and histograms, in families sorted by name. Names are Envoy's: `envoy_` and the name without its
/// tags, whose labels keep the order in which they were extracted.
pub fn prometheus(snapshot: &Snapshot, query: &Query) -> Result<String, QueryError> {
    let summary = match query.buckets {
        HistogramBuckets::Unset | HistogramBuckets::Cumulative => false,
        HistogramBuckets::Summary => true,
        HistogramBuckets::Disjoint | HistogramBuckets::Detailed => return Err(QueryError::PrometheusBuckets),
    };
    let mut out = Output(String::new());
    let number = |out: &mut Output, name: &str, labels: &str, value: &u64| out.number(name, labels, *value);
    families(&mut out, "counter", &snapshot.counters, query, number);
    families(&mut out, "gauge", &snapshot.gauges, query, number);
    if query.text_readouts {
        families(&mut out, "gauge", &snapshot.text_readouts, query, |out, name, labels, text| {
            out.readout(name, labels, text);
        });
    }
    if summary {
        families(&mut out, "summary", &snapshot.histograms, query, Output::summary);
    } else {
        families(&mut out, "histogram", &snapshot.histograms, query, Output::histogram);
    }
    Ok(out.0)
}

/// Prints the stats of one kind, all of one family together.
fn families<V>(
    out: &mut Output,
    kind: &str,
    stats: &[Stat<V>],
    query: &Query,
    print: impl Fn(&mut Output, &str, &str, &V),
) {
    let mut families: BTreeMap<Vec<&str>, Vec<&Stat<V>>> = BTreeMap::new();
    for stat in stats.iter().filter(|stat| query.shows(stat)) {
        // Word by word: a dot sorts before everything else.
        families.entry(stat.name.tagged().name.split('.').collect()).or_default().push(stat);
    }
    for (words, mut members) in families {
        let name = format!("envoy_{}", identifier(&words.join(".")));
        out.line(format_args!("# TYPE {name} {kind}"));
        members.sort_by(|a, b| a.name.as_str().split('.').cmp(b.name.as_str().split('.')));
        for stat in members {
            print(out, &name, &labels(&stat.name.tagged().tags), &stat.value);
        }
    }
}

/// The page, written line by line.
struct Output(String);

impl Output {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn number(&mut self, name: &str, labels: &str, value: u64) {
        self.line(format_args!("{name}{{{labels}}} {value}"));
    }

    /// Prometheus knows numbers only, so the text becomes a label.
    fn readout(&mut self, name: &str, labels: &str, value: &str) {
        let comma = comma(labels);
        self.line(format_args!("{name}{{{labels}{comma}text_value=\"{}\"}} 0", escaped(value)));
    }

    fn histogram(&mut self, name: &str, labels: &str, view: &HistogramView) {
        let comma = comma(labels);
        for (bound, _, count) in super::cumulative_buckets(view) {
            let bound = general(bound, 32);
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"));
        }
        let count = view.cumulative.count();
        self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
        self.sum_and_count(name, labels, &view.cumulative);
    }

    fn summary(&mut self, name: &str, labels: &str, view: &HistogramView) {
        let comma = comma(labels);
        for quantile in QUANTILES {
            let value = general(view.interval.quantile(quantile), 32);
            self.line(format_args!("{name}{{{labels}{comma}quantile=\"{quantile}\"}} {value}"));
        }
        self.sum_and_count(name, labels, &view.interval);
    }

    fn sum_and_count(&mut self, name: &str, labels: &str, bins: &Bins) {
        self.line(format_args!("{name}_sum{{{labels}}} {}", general(bins.sum(), 32)));
        self.line(format_args!("{name}_count{{{labels}}} {}", bins.count()));
    }
}

fn labels(tags: &[Tag]) -> String {
    let label = |tag: &Tag| format!("{}=\"{}\"", identifier(&tag.name), escaped(&tag.value));
    tags.iter().map(label).collect::<Vec<_>>().join(",")
}

/// What separates the labels of the tags from one more.
fn comma(labels: &str) -> &'static str {
    if labels.is_empty() { "" } else { "," }
}

/// Only letters, digits and underscores may be in a name.
fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}
