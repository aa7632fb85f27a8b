//! Stats: what counting costs the data path, and what a scrape of many stats costs the admin's thread.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use underpass_core::stats::{
    Counter, Store, Unit,
    render::{Query, prometheus, text},
    set_worker,
};

/// A mid-sized mesh: 100 clusters with 99 counters and a histogram each.
const CLUSTERS: usize = 100;
const COUNTERS: usize = 99;

fn counting(c: &mut Criterion) {
    set_worker(0);
    let store = Store::new(2);
    let scope = store.scope("cluster.up");
    let counter = scope.counter("upstream_cx_total");
    c.bench_function("stats/counter inc", |b| b.iter(|| black_box(&counter).inc()));
    let gauge = scope.gauge("upstream_cx_active");
    c.bench_function("stats/gauge inc and dec", |b| b.iter(|| drop(black_box(&gauge).hold())));
    let histogram = scope.histogram("upstream_cx_length_ms", Unit::Milliseconds);
    let mut value = 0;
    c.bench_function("stats/histogram record", |b| {
        b.iter(|| {
            value = (value + 7) % 10_000;
            histogram.record(value);
        });
    });
    c.bench_function("stats/counter by name", |b| {
        b.iter(|| scope.counter(black_box("upstream_cx_total")));
    });
}

fn scraping(c: &mut Criterion) {
    set_worker(0);
    let store = Store::new(2);
    let scopes: Vec<_> = (0..CLUSTERS).map(|index| store.scope(&format!("cluster.c{index}"))).collect();
    let counters: Vec<_> = scopes
        .iter()
        .flat_map(|scope| (0..COUNTERS).map(|index| scope.counter(&format!("counter_{index}"))))
        .collect();
    let histograms: Vec<_> =
        scopes.iter().map(|scope| scope.histogram("upstream_cx_connect_ms", Unit::Milliseconds)).collect();
    counters.iter().for_each(Counter::inc);
    histograms.iter().for_each(|histogram| histogram.record(3));
    store.merge_histograms();
    let query = Query::default();
    let mut group = c.benchmark_group("stats/scrape of 10,000");
    group.sample_size(20);
    group.bench_function("snapshot", |b| b.iter(|| store.snapshot()));
    group.bench_function("text", |b| b.iter(|| text(&store.snapshot(), &query)));
    group.bench_function("prometheus", |b| b.iter(|| prometheus(&store.snapshot(), &query)));
}

criterion_group!(benches, counting, scraping);
criterion_main!(benches);
