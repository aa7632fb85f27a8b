//! Earliest deadline first: weighted turns that are spread evenly over time.
//!
//! Each entry is due again one over its weight after it was due last, so one of weight 3 comes three times as often as
//! one of weight 1, with the others in between
//! (Envoy, `source/common/upstream/edf_scheduler.h`).

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
    hash::Hash,
};

/// Entries that take turns by weight.
#[derive(Debug, Clone)]
pub(crate) struct Schedule<T> {
    now: f64,
    added: u64,
    queue: BinaryHeap<Entry<T>>,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    due: f64,
    /// Ties go to the one that was put in first.
    order: u64,
    value: T,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { now: 0.0, added: 0, queue: BinaryHeap::new() }
    }
}

impl<T: Clone> Schedule<T> {
    /// Adds an entry. A weight that is not positive keeps it out.
    pub(crate) fn add(&mut self, weight: f64, value: T) {
        if weight > 0.0 {
            self.insert(self.now + 1.0 / weight, value);
        }
    }

    /// The entry that is due; it is due again after one over the weight that it has now.
    pub(crate) fn next(&mut self, weight: impl FnOnce(&T) -> f64) -> Option<T> {
        let Entry { due, value, .. } = self.queue.pop()?;
        self.now = due;
        self.add(weight(&value).max(f64::MIN_POSITIVE), value.clone());
        Some(value)
    }

    /// The same schedule for other entries, which `key` tells apart: those that stay are due when they would have been.
    pub(crate) fn with_entries<'v, K: Eq + Hash>(
        &self,
        values: impl Iterator<Item = &'v T>,
        key: impl Fn(&T) -> K,
        weight: impl Fn(&T) -> f64,
    ) -> Self
    where
        T: 'v,
    {
        let due: HashMap<K, f64> = self.queue.iter().map(|entry| (key(&entry.value), entry.due)).collect();
        let mut next = Self { now: self.now, ..Self::default() };
        for value in values {
            match due.get(&key(value)) {
                Some(due) => next.insert(*due, value.clone()),
                None => next.add(weight(value), value.clone()),
            }
        }
        next
    }

    /// Takes entries out.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.queue.retain(|entry| keep(&entry.value));
    }

    fn insert(&mut self, due: f64, value: T) {
        self.added += 1;
        self.queue.push(Entry { due, order: self.added, value });
    }
}

impl<T> Ord for Entry<T> {
    /// The heap gives the greatest, so what is due earlier is greater.
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.total_cmp(&self.due).then(other.order.cmp(&self.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(weights: &[f64], count: usize) -> Vec<usize> {
        let mut schedule = Schedule::default();
        for (value, weight) in weights.iter().enumerate() {
            schedule.add(*weight, value);
        }
        (0..count).filter_map(|_| schedule.next(|value| weights[*value])).collect()
    }

    #[test]
    fn heavy_entries_are_spread_over_time() {
        assert_eq!(turns(&[3.0, 1.0], 8), [0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(turns(&[2.0, 1.0, 1.0], 8), [0, 1, 2, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn no_entries_no_turns() {
        assert!(turns(&[], 3).is_empty());
        assert!(turns(&[0.0], 3).is_empty());
    }

    #[test]
    fn entries_that_stay_keep_their_place() {
        let mut schedule = Schedule::default();
        ["a", "b", "c"].into_iter().for_each(|name| schedule.add(1.0, name));
        assert_eq!(schedule.next(|_| 1.0), Some("a"));
        let mut schedule = schedule.with_entries(["a", "c", "d"].iter(), |name| *name, |_| 1.0);
        let turns: Vec<_> = (0..4).filter_map(|_| schedule.next(|_| 1.0)).collect();
        assert_eq!(turns, ["c", "a", "d", "c"], "c was due next, a had its turn, d is new");
    }

    proptest! {
        #[test]
        fn turns_are_exactly_by_weight(weights in prop::collection::vec(1..20_u32, 1..8)) {
            let total: u32 = weights.iter().sum();
            let weights_f: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            let rounds = 10;
            let taken = turns(&weights_f, (total * rounds) as usize);
            for (value, weight) in weights.iter().enumerate() {
                let count = taken.iter().filter(|taken| **taken == value).count();
                // Rounding of floats can move a turn across the border of a round.
                prop_assert!(count.abs_diff((weight * rounds) as usize) <= 1, "{value}: {count} of {weight}×{rounds}");
            }
        }
    }
}
