//! How long to wait before a stream is opened again.

use std::time::Duration;

/// Envoy's jittered exponential back-off: a random time below a bound, which doubles up to a maximum
/// (`source/common/common/backoff_strategy.cc`).
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// Bounds from `base` up to `max`; neither is taken to be shorter than a millisecond.
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, max: max.max(base), bound: base }
    }

    /// How long to wait now.
    pub fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = bound.saturating_mul(2).min(self.max);
        bound.mul_f64(fastrand::f64())
    }

    /// The peer works: the next wait is short again.
    pub fn reset(&mut self) {
        self.bound = self.base;
    }
}

impl Default for Backoff {
    /// From half a second up to thirty, as Envoy for control planes.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_below_a_bound_that_doubles(base in 0_u64..5_000, max in 0_u64..60_000, failures in 0_u32..40) {
            let mut backoff = Backoff::new(Duration::from_millis(base), Duration::from_millis(max));
            let (base, max) = (base.max(1), max.max(base).max(1));
            for failure in 0..failures {
                let bound = base.saturating_mul(2_u64.saturating_pow(failure)).min(max);
                prop_assert!(backoff.next() <= Duration::from_millis(bound));
            }
            backoff.reset();
            prop_assert!(backoff.next() <= Duration::from_millis(base));
        }
    }

    #[test]
    fn waits_differ_from_each_other() {
        let waits: Vec<_> = (0..8).map(|_| Backoff::default().next()).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
