//! A token bucket that many threads take from without a lock.
//!
//! As Envoy's `AtomicTokenBucketImpl`, it knows but one number: the time at which it was last empty, or would have been. It
//! fills all the time, not at intervals.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use underpass_core::config::Ranged;

use crate::config::TokenBucket;

/// A bucket. Times are seconds since a moment that its owner chose.
#[derive(Debug)]
pub(crate) struct Bucket {
    max_tokens: f64,
    tokens_per_second: f64,
    /// The bits of the time at which it was empty.
    empty_at: AtomicU64,
    pub(crate) shadow_mode: bool,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(config: TokenBucket, shadow_mode: bool, now: f64) -> Self {
        let tokens = f64::from(config.tokens_per_fill.map_or(1, Ranged::get));
        let (max_tokens, tokens_per_second) =
            (f64::from(config.max_tokens), tokens / config.fill_interval.get().as_secs_f64());
        let empty_at = AtomicU64::new((now - max_tokens / tokens_per_second).to_bits());
        Self { max_tokens, tokens_per_second, empty_at, shadow_mode }
    }

    /// Takes that many tokens, if they are there.
    pub(crate) fn take(&self, tokens: u64, now: f64) -> bool {
        let tokens = tokens as f64;
        let after = |empty_at: u64| {
            let present = self.tokens(f64::from_bits(empty_at), now);
            let left = present - tokens;
            (left >= 0.0).then(|| (now - left / self.tokens_per_second).to_bits())
        };
        // Only the number itself matters, not what else happened before.
        self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).is_ok()
    }

    fn tokens(&self, empty_at: f64, now: f64) -> f64 {
        ((now - empty_at) * self.tokens_per_second).clamp(0.0, self.max_tokens)
    }

    /// How many tokens it holds at most.
    pub(crate) fn max_tokens(&self) -> u64 {
        whole(self.max_tokens)
    }

    /// How many whole tokens are there.
    pub(crate) fn remaining(&self, now: f64) -> u64 {
        whole(self.tokens(f64::from_bits(self.empty_at.load(Ordering::Relaxed)), now))
    }

    /// In how many seconds there is a token, rounded up.
    pub(crate) fn next_token(&self, now: f64) -> u64 {
        let present = self.tokens(f64::from_bits(self.empty_at.load(Ordering::Relaxed)), now);
        // Milliseconds are what Envoy rounds to first.
        let wait = ((1.0 - present).max(0.0) / self.tokens_per_second * 1000.0).ceil();
        whole((wait / 1000.0).ceil())
    }

    pub(crate) fn tokens_per_second(&self) -> f64 {
        self.tokens_per_second
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and casts of floats saturate"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// What a shorter interval is refused for.
pub(crate) const MIN_FILL_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use underpass_core::config::PositiveDuration;

    use super::*;

    fn bucket(max_tokens: u32, seconds: u64) -> Bucket {
        let fill_interval = PositiveDuration::new(Duration::from_secs(seconds)).unwrap();
        Bucket::new(TokenBucket { max_tokens, tokens_per_fill: None, fill_interval }, false, 100.0)
    }

    #[test]
    fn it_is_full_at_first_and_fills_all_the_time() {
        let bucket = bucket(2, 4);
        assert_eq!((bucket.remaining(100.0), bucket.next_token(100.0)), (2, 0));
        assert!(bucket.take(1, 100.0) && bucket.take(1, 100.0) && !bucket.take(1, 100.0));
        assert_eq!((bucket.remaining(100.0), bucket.next_token(100.0)), (0, 4));
        assert!(!bucket.take(1, 103.9) && bucket.next_token(103.5) == 1);
        assert!(bucket.take(1, 104.0) && !bucket.take(1, 104.0));
        assert_eq!((bucket.remaining(1000.0), bucket.max_tokens()), (2, 2), "it never holds more");
        assert!(bucket.take(2, 1000.0), "two at once");
    }

    #[test]
    fn an_empty_one_gives_nothing() {
        assert!(!bucket(0, 1).take(1, 1000.0));
    }
}
