//! When a name is resolved again.

use std::time::Duration;

/// The rules of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refresh {
    /// After an answer.
    pub interval: Duration,
    /// After failures: from the first interval to the longest; absent, as after an answer.
    pub after_failure: Option<(Duration, Duration)>,
    /// A random time up to this long is added after an answer.
    pub jitter: Duration,
    /// Whether the time to live of an answer replaces the interval.
    pub respect_ttl: bool,
}

/// How many failures came one after the other.
#[derive(Debug, Default)]
pub(super) struct Failures {
    next: Option<Duration>,
}

impl Refresh {
    /// How long to wait after an answer.
    pub(super) fn after_answer(&self, ttl: Option<Duration>, failures: &mut Failures) -> Duration {
        failures.next = None;
        let ttl = ttl.filter(|ttl| self.respect_ttl && !ttl.is_zero());
        ttl.unwrap_or(self.interval) + up_to(self.jitter)
    }

    /// How long to wait after a failure: any time up to an interval that doubles with each failure, so that many clusters
    /// do not ask at the same moment.
    pub(super) fn after_failure(&self, failures: &mut Failures) -> Duration {
        let Some((first, longest)) = self.after_failure else { return self.interval };
        let limit = failures.next.unwrap_or(first);
        failures.next = Some(limit.saturating_mul(2).min(longest));
        up_to(limit)
    }
}

/// A random time below `limit`.
fn up_to(limit: Duration) -> Duration {
    limit.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn refresh() -> Refresh {
        Refresh { interval: seconds(5), after_failure: None, jitter: Duration::ZERO, respect_ttl: false }
    }

    #[test]
    fn the_time_to_live_counts_where_it_is_respected() {
        let mut failures = Failures::default();
        assert_eq!(refresh().after_answer(Some(seconds(30)), &mut failures), seconds(5));
        let respectful = Refresh { respect_ttl: true, ..refresh() };
        assert_eq!(respectful.after_answer(Some(seconds(30)), &mut failures), seconds(30));
        assert_eq!(respectful.after_answer(Some(seconds(0)), &mut failures), seconds(5));
        assert_eq!(respectful.after_answer(None, &mut failures), seconds(5));
    }

    #[test]
    fn failures_are_retried_at_the_usual_interval_unless_there_is_another() {
        assert_eq!(refresh().after_failure(&mut Failures::default()), seconds(5));
    }

    proptest! {
        #[test]
        fn intervals_after_failures_grow_up_to_a_limit(count in 0..12_u32) {
            let refresh = Refresh { after_failure: Some((seconds(2), seconds(20))), ..refresh() };
            let mut failures = Failures::default();
            for _ in 0..count {
                refresh.after_failure(&mut failures);
            }
            let limit = seconds(2_u64.saturating_mul(2_u64.pow(count)).min(20));
            prop_assert!(refresh.after_failure(&mut failures) <= limit);
            refresh.after_answer(None, &mut failures);
            prop_assert!(refresh.after_failure(&mut failures) <= seconds(2), "an answer starts anew");
        }

        #[test]
        fn jitter_is_added(jitter in 0..10_u64) {
            let wait = Refresh { jitter: seconds(jitter), ..refresh() }.after_answer(None, &mut Failures::default());
            prop_assert!(wait >= seconds(5) && wait <= seconds(5 + jitter));
        }
    }
}
