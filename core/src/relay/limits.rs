//! When a relay ends although bytes may still come: its idle timeout and its deadline.

use std::time::Duration;

use tokio::time::Instant;

use super::RelayEnd;
use crate::stream_info::{DurationCell, InstantCell};

/// When to end although bytes may still come.
pub(super) struct Limits {
    idle_timeout: DurationCell,
    deadline: InstantCell,
    last_activity: InstantCell,
}

impl Limits {
    pub(super) fn new(idle_timeout: Option<Duration>, deadline: Option<Instant>) -> Self {
        let limits = Self {
            idle_timeout: DurationCell::default(),
            deadline: InstantCell::default(),
            last_activity: InstantCell::default(),
        };
        limits.idle_timeout.set(idle_timeout);
        limits.deadline.set(deadline.map(Instant::into_std));
        limits.note_activity(Instant::now());
        limits
    }

    pub(super) fn note_activity(&self, at: Instant) {
        self.last_activity.set(Some(at.into_std()));
    }

    pub(super) fn last_activity(&self) -> Instant {
        self.last_activity.get().map_or_else(Instant::now, Instant::from_std)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline.get().map(Instant::from_std)
    }

    /// When the idle timeout is reached if nothing moves any more.
    fn idle_at(&self) -> Option<Instant> {
        self.idle_timeout.get().map(|timeout| self.last_activity() + timeout)
    }

    /// The next moment at which a limit may be reached.
    pub(super) fn next(&self) -> Option<Instant> {
        self.idle_at().into_iter().chain(self.deadline()).min()
    }

    /// A failure, unless a limit is reached in the same moment: hops with the same limit end together, each by its own, as
    /// in Envoy. Timers count milliseconds.
    pub(super) fn overtake(&self, failure: RelayEnd) -> RelayEnd {
        self.check(Instant::now() + Duration::from_millis(1)).err().unwrap_or(failure)
    }

    /// The end if a limit is reached, else the next moment at which one may be.
    pub(super) fn check(&self, now: Instant) -> Result<Option<Instant>, RelayEnd> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            return Err(RelayEnd::DurationTimeout);
        }
        if self.idle_at().is_some_and(|at| at <= now) {
            return Err(RelayEnd::IdleTimeout);
        }
        Ok(self.next())
    }
}
