//! The last answer of the upstream, for a while.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::StatusCode;

/// An answer, as far as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) status: StatusCode,
    /// Whether the upstream said that it is degraded.
    pub(crate) degraded: bool,
}

/// The last answer. As in Envoy, time is cut into pieces: an answer counts until the end of its piece.
pub(crate) struct Cache {
    started: Instant,
    piece: Duration,
    /// The piece's number, from 1, then a bit for degraded, then the status.
    known: AtomicU64,
}

const STATUS_BITS: u32 = 10;

impl Cache {
    pub(crate) fn new(piece: Duration) -> Self {
        Self { started: Instant::now(), piece, known: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self, Known { status, degraded }: Known) {
        let low = u64::from(degraded) << STATUS_BITS | u64::from(status.as_u16());
        self.known.store(self.now() << (STATUS_BITS + 1) | low, Ordering::Relaxed);
    }

    /// The answer of the present piece of time.
    pub(crate) fn get(&self) -> Option<Known> {
        let known = self.known.load(Ordering::Relaxed);
        if known >> (STATUS_BITS + 1) != self.now() {
            return None;
        }
        let status = u16::try_from(known & ((1 << STATUS_BITS) - 1)).ok()?;
        let status = StatusCode::from_u16(status).ok()?;
        Some(Known { status, degraded: known >> STATUS_BITS & 1 == 1 })
    }

    fn now(&self) -> u64 {
        let pieces = self.started.elapsed().as_nanos() / self.piece.as_nanos().max(1);
        u64::try_from(pieces).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_a_while() {
        let known = Known { status: StatusCode::SERVICE_UNAVAILABLE, degraded: true };
        let cache = Cache::new(Duration::from_secs(3600));
        assert_eq!(cache.get(), None);
        cache.set(known);
        assert_eq!(cache.get(), Some(known));
        let short = Cache::new(Duration::from_nanos(1));
        short.set(known);
        assert_eq!(short.get(), None);
    }
}
