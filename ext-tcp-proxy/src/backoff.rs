//! How long to wait between attempts to connect.

use std::time::Duration;

use underpass_core::build_context::{BuildContext, BuildError};

use crate::config::BackoffStrategy;

/// Exponential waits with full jitter, as Envoy's `JitteredExponentialBackOffStrategy`. Each connection starts anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn build(config: &BackoffStrategy, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let base = config.base_interval;
        let max = config.max_interval.unwrap_or(base * 10);
        if max < base {
            let message = "max_backoff_interval must be greater or equal to base_backoff_interval";
            return Err(BuildError::at(
                context.path().field("backoff_options").field("max_interval"),
                message,
            ));
        }
        Ok(Self { base, max })
    }

    /// The longest that each wait may take, without end.
    fn ceilings(self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.base), move |last| Some((*last * 2).min(self.max)))
    }

    /// Waits, without end.
    pub(crate) fn waits(self) -> impl Iterator<Item = Duration> {
        self.ceilings().map(|ceiling| ceiling.mul_f64(fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_are_drawn_below_that() {
        let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_millis(350) };
        let ceilings: Vec<_> = backoff.ceilings().take(4).map(|ceiling| ceiling.as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 350, 350]);
        for (wait, ceiling) in backoff.waits().zip(backoff.ceilings()).take(100) {
            assert!(wait <= ceiling, "{wait:?} > {ceiling:?}");
        }
    }
}
