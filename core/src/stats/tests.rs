use std::thread;

use super::*;
use crate::matcher::StringMatcher;

fn names(store: &Store) -> Vec<String> {
    store.snapshot().counters.iter().map(|stat| stat.name.to_string()).collect()
}

#[test]
fn one_name_is_one_stat() {
    let store = Store::new(1);
    let cluster = store.scope("cluster.up");
    let first = cluster.counter("upstream_cx_total");
    let second = store.scope("cluster").scope("up").counter("upstream_cx_total");
    first.inc();
    second.add(2);
    assert_eq!((first.value(), second.value()), (3, 3));
    assert_eq!(names(&store), ["cluster.up.upstream_cx_total"]);
}

#[test]
fn a_stat_lives_as_long_as_a_handle_or_its_scope() {
    let store = Store::new(1);
    let scope = store.scope("listener.a");
    let kept_by_scope = scope.counter("by_scope");
    drop(kept_by_scope);
    assert_eq!(names(&store), ["listener.a.by_scope"]);

    let kept_by_handle = scope.counter("by_handle");
    kept_by_handle.inc();
    drop(scope);
    assert_eq!(names(&store), ["listener.a.by_handle"]);
    assert_eq!(kept_by_handle.value(), 1);

    drop(kept_by_handle);
    assert_eq!(names(&store), Vec::<String>::new());
    assert_eq!(store.scope("listener.a").counter("by_handle").value(), 0, "a new stat begins at zero");
}

crate::stat_group! {
    /// Some of everything.
    struct Samples {
        /// A counter.
        counter first,
        /// Another stat of the same name.
        gauge both,
        /// A histogram, between numbers.
        histogram(Bytes) sizes,
        /// A counter.
        counter both_kinds,
    }
}

#[test]
fn what_is_declared_together_is_the_same_by_its_own_name() {
    let store = Store::new(1);
    let scope = store.scope("cluster.up");
    let declared = Samples::new(&scope);
    declared.first.add(2);
    declared.both.set(5);
    declared.sizes.record(1);
    let other = store.scope("cluster");
    other.counter("up.first").inc();
    assert_eq!((declared.first.value(), other.gauge("up.both").value()), (3, 5));
    assert_eq!(other.counter("up.both").value(), 0, "a counter of the gauge's name is another stat");
    assert_eq!(names(&store), ["cluster.up.both", "cluster.up.both_kinds", "cluster.up.first"]);
    let again = Samples::new(&store.scope("cluster.up"));
    again.both_kinds.inc();
    assert_eq!((again.first.value(), declared.both_kinds.value()), (3, 1));
    store.reset_counters();
    declared.first.inc();
    assert_eq!((again.first.value(), again.both.value(), again.both_kinds.value()), (1, 5, 0));
    let snapshot = store.snapshot();
    assert_eq!(snapshot.counters[2].name.tagged().name, "cluster.first");
    drop((scope, declared, other, again, snapshot));
    assert_eq!(names(&store), Vec::<String>::new());
}

#[test]
fn a_declaration_finds_what_was_there_before_it() {
    let store = Store::new(1);
    let before = store.scope("cluster.up").counter("both_kinds");
    before.add(7);
    let declared = Samples::new(&store.scope("cluster.up"));
    declared.first.inc();
    assert_eq!((declared.both_kinds.value(), declared.first.value(), declared.both.value()), (7, 1, 0));
}

#[test]
fn of_a_declaration_some_can_be_turned_off() {
    let matcher = StatsMatcher::Exclude(vec![StringMatcher::exact("cluster.up.first")]);
    let store = Store::with_options(1, StoreOptions { matcher, ..StoreOptions::default() });
    let scope = store.scope("cluster.up");
    let declared = Samples::new(&scope);
    declared.first.inc();
    declared.both_kinds.inc();
    assert_eq!((declared.first.value(), declared.both_kinds.value()), (0, 1));
    assert_eq!(names(&store), ["cluster.up.both_kinds"]);
}

/// A listener that is replaced by a new version of the same name goes on counting.
#[test]
fn a_new_owner_takes_over_where_the_old_one_is() {
    let store = Store::new(1);
    let old = store.scope("listener.a");
    old.counter("downstream_cx_total").add(7);
    let new = store.scope("listener.a");
    let counter = new.counter("downstream_cx_total");
    drop(old);
    counter.inc();
    assert_eq!(counter.value(), 8);
}

#[test]
fn many_short_lived_stats_leave_nothing_behind() {
    let store = Store::new(2);
    for number in 0..5000 {
        let scope = store.scope(&format!("cluster.c{number}"));
        scope.counter("x").inc();
        scope.gauge("y").inc();
    }
    assert!(names(&store).is_empty());
    let last = store.scope("cluster.last");
    assert_eq!((last.counter("x").value(), last.gauge("y").value()), (0, 0));
}

#[test]
fn addresses_in_names_are_written_as_envoys() {
    let store = Store::new(1);
    for (scope, expected) in [
        ("listener.127.0.0.1:80", "listener.127.0.0.1_80.x"),
        ("listener.[::1]:80", "listener.[__1]_80.x"),
        ("listener.envoy://inner/", "listener.envoy_inner/.x"),
        (".cluster.a.", "cluster.a.x"),
        ("", "x"),
    ] {
        let scope = store.scope(scope);
        let _ = scope.counter("x");
        assert_eq!(names(&store), [expected]);
    }
}

#[test]
fn counters_reset_and_latch_independently() {
    let store = Store::new(1);
    let counter = store.scope("a").counter("b");
    assert!(!counter.used());
    counter.add(5);
    assert_eq!((counter.latch(), counter.latch()), (5, 0));
    counter.add(2);
    store.reset_counters();
    counter.add(1);
    assert_eq!((counter.value(), counter.latch()), (1, 3));
    assert!(counter.used());
}

#[test]
fn a_gauge_holds_as_long_as_somebody_does_even_on_panic() {
    let store = Store::new(1);
    let gauge = store.scope("a").gauge("active");
    let hold = gauge.hold();
    let result = std::panic::catch_unwind({
        let gauge = gauge.clone();
        move || {
            let _held = gauge.hold();
            assert_eq!(gauge.value(), 3, "on purpose: there are two");
        }
    });
    assert!(result.is_err());
    assert_eq!(gauge.value(), 1);
    drop(hold);
    assert_eq!(gauge.value(), 0);
}

#[test]
fn a_gauge_goes_down_where_it_did_not_go_up() {
    let store = Store::new(2);
    let gauge = store.scope("a").gauge("active");
    gauge.add(3);
    let other = gauge.clone();
    let worker = move || {
        set_worker(1);
        other.sub(2);
    };
    thread::spawn(worker).join().unwrap();
    assert_eq!(gauge.value(), 1);
    gauge.set(40);
    assert_eq!(gauge.value(), 40);
    gauge.sub(41);
    assert_eq!(gauge.value(), 0, "never less than nothing");
}

#[test]
fn a_rejected_stat_counts_nothing() {
    let matcher = StatsMatcher::Exclude(vec![StringMatcher::prefix("cluster.")]);
    let store = Store::with_options(1, StoreOptions { matcher, ..StoreOptions::default() });
    let counter = store.scope("cluster.up").counter("x");
    counter.inc();
    assert_eq!((counter.value(), counter.used()), (0, false));
    store.scope("cluster.up").histogram("h", Unit::Bytes).record(1);
    let kept = store.scope("tcp.a").counter("x");
    assert_eq!(names(&store), ["tcp.a.x"]);
    drop(kept);
}

#[test]
fn histograms_show_what_was_merged() {
    let store = Store::new(1);
    let scope = store.scope("a");
    let histogram = scope.histogram("ms", Unit::Milliseconds);
    let view = || store.snapshot().histograms.remove(0);
    store.merge_histograms();
    assert!(!view().used, "nothing was recorded");
    histogram.record(10);
    histogram.record(20);
    assert_eq!(view().value.cumulative.count(), 0);
    store.merge_histograms();
    assert!(view().used);
    assert_eq!((view().value.interval.count(), view().value.cumulative.count()), (2, 2));
    store.merge_histograms();
    assert_eq!((view().value.interval.count(), view().value.cumulative.count()), (0, 2));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

    /// Workers and other threads, more of them than the store has rows for, add at once: nothing is lost.
    #[test]
    fn sums_over_threads_are_exact(adds in proptest::collection::vec(proptest::collection::vec(0_u64..1000, 0..60), 1..6), workers in 0_usize..4) {
        let store = Store::new(workers);
        let scope = store.scope("s");
        let (counter, gauge) = (scope.counter("c"), scope.gauge("g"));
        let histogram = scope.histogram("h", Unit::Unspecified);
        thread::scope(|threads| {
            for (index, adds) in adds.iter().enumerate() {
                let (counter, gauge, histogram) = (counter.clone(), gauge.clone(), histogram.clone());
                threads.spawn(move || {
                    // The last two threads are no workers, and some numbers are beyond the store's workers.
                    if index < 3 {
                        set_worker(index);
                    }
                    for &amount in adds {
                        counter.add(amount);
                        gauge.add(amount);
                        gauge.sub(amount / 2);
                        histogram.record(amount);
                    }
                });
            }
        });
        store.merge_histograms();
        let all = adds.iter().flatten();
        proptest::prop_assert_eq!(counter.value(), all.clone().sum::<u64>());
        proptest::prop_assert_eq!(gauge.value(), all.clone().map(|amount| amount - amount / 2).sum::<u64>());
        proptest::prop_assert_eq!(store.snapshot().histograms[0].value.cumulative.count(), all.count() as u64);
    }
}
