//! Moments and durations that may be unknown, in half the memory of what the standard library has for them: each stream has
//! several, and so has each hop.

use std::{
    cell::Cell,
    sync::LazyLock,
    time::{Duration, Instant},
};

/// What moments are counted from. Some are earlier than whoever asks for it first.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What stands for the origin: half of what there is, some 292 years each way.
const AT_ORIGIN: u64 = u64::MAX / 2;

/// A cell for a moment, to the nanosecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstantCell(Cell<u64>);

impl InstantCell {
    /// The moment, if it is known.
    pub fn get(&self) -> Option<Instant> {
        let since = self.0.get();
        if since == 0 {
            return None;
        }
        if let Some(after) = since.checked_sub(AT_ORIGIN) {
            return ORIGIN.checked_add(Duration::from_nanos(after));
        }
        ORIGIN.checked_sub(Duration::from_nanos(AT_ORIGIN - since))
    }

    /// Replaces it.
    pub fn set(&self, moment: Option<Instant>) {
        self.0.set(moment.map_or(0, |moment| match moment.checked_duration_since(*ORIGIN) {
            Some(after) => AT_ORIGIN.saturating_add(nanoseconds(after)),
            None => AT_ORIGIN.saturating_sub(nanoseconds(ORIGIN.duration_since(moment))).max(1),
        }));
    }

    /// Forgets it.
    pub fn take(&self) -> Option<Instant> {
        let moment = self.get();
        self.set(None);
        moment
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

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
        let just_before = ORIGIN.checked_sub(Duration::from_nanos(1));
        for at in [*ORIGIN, earlier, Instant::now(), just_before.unwrap_or(earlier), *ORIGIN + hour] {
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
