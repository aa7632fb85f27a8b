//! How many requests a control plane is sent in a time.

use std::time::{Duration, Instant};

/// A token bucket: each request takes a token, and tokens come back at a fixed rate.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    tokens: f64,
    max: f64,
    per_second: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket of `max` tokens that fills at `per_second`.
    pub fn new(max: u32, per_second: f64, now: Instant) -> Self {
        let max = f64::from(max);
        // Envoy, too, fills no slower than once a year.
        let per_second = per_second.max(1.0 / (365.0 * 24.0 * 3600.0));
        Self { tokens: max, max, per_second, filled: now }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = passed.mul_add(self.per_second, self.tokens).min(self.max);
        self.filled = self.filled.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / self.per_second;
        // A millisecond more, so that the token is there when somebody comes back.
        Err(Duration::from_secs_f64(missing) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_gives_a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2, 10.0, start);
        assert_eq!((bucket.take(start), bucket.take(start)), (Ok(()), Ok(())));
        let wait = bucket.take(start).unwrap_err();
        assert!((100..=102).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(bucket.take(start + wait), Ok(()));
        assert!(bucket.take(start + wait).is_err());
    }

    proptest! {
        #[test]
        fn no_more_leave_than_the_bucket_and_its_rate_allow(
            max in 1_u32..20,
            rate in 0.1_f64..100.0,
            steps in proptest::collection::vec(0_u64..500, 0..100),
        ) {
            let start = Instant::now();
            let (mut bucket, mut now, mut taken) = (TokenBucket::new(max, rate, start), start, 0.0);
            for step in steps {
                now += Duration::from_millis(step);
                if bucket.take(now).is_ok() {
                    taken += 1.0;
                }
            }
            prop_assert!(taken <= f64::from(max) + rate * (now - start).as_secs_f64() + 1e-6);
        }
    }
}
