//! Moments and durations that may be unknown, in half the memory of what the standard library has for them: each stream has
//! several, and so has each hop.

use std::{
    cell::Cell,
    num::NonZeroU64,
    sync::LazyLock,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// A moment of the monotonic clock, to the nanosecond. It takes half the memory of the standard library's [`Instant`], and a
/// difference of two is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

/// Nanoseconds that stand for the clock's zero: half of what there is, some 292 years each way.
const AT_ZERO: u64 = u64::MAX / 2;

/// The same moment on both clocks. Which zero an [`Instant`] counts from cannot be asked.
static ORIGIN: LazyLock<(Instant, Moment)> = LazyLock::new(|| {
    let look = |_| {
        let before = Moment::now();
        let instant = Instant::now();
        (Moment::now().since(before), instant, before)
    };
    // The shortest of several looks, in case that others ran in the midst of one.
    let (_, instant, moment) = (0..8).map(look).min().unwrap_or_else(|| look(0));
    (instant, moment)
});

impl Moment {
    /// Reads the clock.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self::at(AT_ZERO.saturating_add_signed(now.tv_sec * 1_000_000_000 + now.tv_nsec))
    }

    /// How long after another moment this is; nothing if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    fn at(nanoseconds: u64) -> Self {
        Self(NonZeroU64::new(nanoseconds).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Moment> for Instant {
    fn from(moment: Moment) -> Self {
        let (instant, origin) = *ORIGIN;
        // proven: a moment is what the clock said or what an instant was, so there is such an instant, but for the first moments
        // of a machine.
        let there = if moment >= origin {
            instant.checked_add(moment.since(origin))
        } else {
            instant.checked_sub(origin.since(moment))
        };
        there.unwrap_or(instant)
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        let (instant, Self(origin)) = *ORIGIN;
        let after = nanoseconds(at.saturating_duration_since(instant));
        // Only what happened before anybody asked is not after it.
        let before = if after == 0 { nanoseconds(instant.saturating_duration_since(at)) } else { 0 };
        Self::at(origin.get().saturating_add(after).saturating_sub(before))
    }
}

/// The wall clock, in nanoseconds after 1970.
pub(super) fn wall_clock() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or_default()
}

/// A cell for a moment, to the nanosecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstantCell(Cell<Option<Moment>>);

impl InstantCell {
    /// The moment, if it is known.
    pub fn get(&self) -> Option<Instant> {
        self.0.get().map(Instant::from)
    }

    /// Replaces it.
    pub fn set(&self, moment: Option<Instant>) {
        self.0.set(moment.map(Moment::from));
    }

    /// Forgets it.
    pub fn take(&self) -> Option<Instant> {
        self.0.take().map(Instant::from)
    }
}

/// A cell for a duration, to the nanosecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurationCell(Cell<u64>);

impl DurationCell {
    /// The duration, if it is known.
    pub fn get(&self) -> Option<Duration> {
        self.0.get().checked_sub(1).map(Duration::from_nanos)
    }

    /// Replaces it.
    pub fn set(&self, duration: Option<Duration>) {
        self.0.set(duration.map_or(0, |duration| nanoseconds(duration).saturating_add(1)));
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_again() {
        let earlier = Instant::now();
        let (moment, duration) = (InstantCell::default(), DurationCell::default());
        assert_eq!((moment.get(), duration.get()), (None, None));
        let hour = Duration::from_secs(3600);
        let origin = ORIGIN.0;
        let just_before = origin.checked_sub(Duration::from_nanos(1));
        for at in [origin, earlier, Instant::now(), just_before.unwrap_or(earlier), origin + hour] {
            moment.set(Some(at));
            assert_eq!(moment.get(), Some(at));
        }
        for long in [Duration::ZERO, Duration::from_nanos(1), hour] {
            duration.set(Some(long));
            assert_eq!(duration.get(), Some(long));
        }
        assert!(moment.take().is_some() && moment.get().is_none());
        duration.set(None);
        assert_eq!(duration.get(), None);
    }
}
