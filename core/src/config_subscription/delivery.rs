//! The way from a source to whoever watches it: counts, logs, and ends the wait for the first answer.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::stats::Scope;

use super::{ConfigUpdate, ConfigWatcher, FetchFailure, SubscriptionStats};

/// How a source delivers what it has for one subscription. Clones deliver to the same watcher.
#[derive(Clone)]
pub struct Delivery(Arc<Shared>);

struct Shared {
    type_name: &'static str,
    names: Mutex<Vec<Arc<str>>>,
    stats: SubscriptionStats,
    watcher: Weak<dyn ConfigWatcher>,
    answered: AtomicBool,
}

impl Delivery {
    pub(super) fn new(
        type_name: &'static str,
        names: Vec<Arc<str>>,
        stats: SubscriptionStats,
        watcher: Weak<dyn ConfigWatcher>,
    ) -> Self {
        let (names, answered) = (Mutex::new(names), AtomicBool::new(false));
        Self(Arc::new(Shared { type_name, names, stats, watcher, answered }))
    }

    /// The message name of the resources.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name
    }

    /// The names that are wanted; empty for all.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the stats of the subscription stand, for those of the source itself.
    pub fn scope(&self) -> &Scope {
        self.0.stats.scope()
    }

    /// Whether nobody watches any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.watcher.strong_count() == 0
    }

    /// Counts that an answer is being fetched.
    pub fn attempt(&self) {
        self.0.stats.update_attempt.inc();
    }

    /// Hands over an answer.
    ///
    /// # Errors
    /// Why the watcher refused it: what a NACK says.
    pub fn deliver(&self, update: &ConfigUpdate) -> Result<(), String> {
        let Some(watcher) = self.0.watcher.upgrade() else { return Ok(()) };
        let began = Instant::now();
        self.0.answered.store(true, Ordering::Relaxed);
        let outcome = watcher.update(update);
        if outcome.is_ok() {
            self.0.stats.accepted(&update.version, began.elapsed());
        } else {
            self.0.stats.update_rejected.inc();
            watcher.failed(FetchFailure::Rejected);
        }
        outcome
    }

    /// Hands over that the answer makes no sense as such, before it is known which resources it has.
    pub fn reject(&self) {
        self.0.stats.update_rejected.inc();
        self.without_answer(FetchFailure::Rejected);
    }

    /// Hands over that there is no answer; `why` goes to the log at level debug, since the source knows better how loud to be.
    pub fn fail(&self, why: impl Display) {
        tracing::debug!(target: "config", "no answer about {}: {why}", self.0.type_name);
        self.0.stats.update_failure.inc();
        self.without_answer(FetchFailure::Unavailable);
    }

    /// Counts an attempt that failed since the source cannot be reached for now. Nobody is told: the source goes on trying, and whoever waits for the
    /// first answer does so until its time is up, as in Envoy.
    pub fn unreachable(&self) {
        self.0.stats.update_failure.inc();
        self.0.stats.update_attempt.inc();
    }

    pub(super) fn without_answer(&self, why: FetchFailure) {
        if let Some(watcher) = self.0.watcher.upgrade() {
            watcher.failed(why);
        }
    }

    pub(super) fn timer(&self) -> Timer {
        Timer(Arc::downgrade(&self.0))
    }
}

/// Waits for the first answer.
pub(super) struct Timer(Weak<Shared>);

impl Timer {
    /// Whether there was none yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| !shared.answered.load(Ordering::Relaxed))
    }

    pub(super) async fn run(self, timeout: Duration) {
        tokio::time::sleep(timeout).await;
        let Some(shared) = self.0.upgrade().filter(|shared| !shared.answered.load(Ordering::Relaxed)) else {
            return;
        };
        if let Some(watcher) = shared.watcher.upgrade().filter(|watcher| !watcher.is_served()) {
            tracing::warn!(
                target: "config",
                "config: initial fetch timed out for type.googleapis.com/{}",
                shared.type_name
            );
            // Envoy takes the end of the wait for an attempt, too.
            shared.stats.update_attempt.inc();
            shared.stats.init_fetch_timeout.inc();
            watcher.failed(FetchFailure::TimedOut);
        }
    }
}
