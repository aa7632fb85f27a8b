//! What the process is doing, and the wish to end it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use underpass_core::server::HealthCheckState;

/// Envoy's server states; the numbers are those of `server.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It serves.
    Live = 0,
    /// It serves, but wants no new clients: a health check was told to fail, or it drains.
    Draining = 1,
    /// Clusters are not ready.
    PreInitializing = 2,
    /// Listeners are not ready.
    Initializing = 3,
}

impl State {
    /// The word that `/ready` and `/server_info` print.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// What the process is doing; shared by everybody who asks or decides.
#[derive(Debug)]
pub struct Lifecycle {
    started: Instant,
    phase: AtomicU8,
    health_checks: Arc<HealthCheckState>,
    stop: watch::Sender<bool>,
}

impl Lifecycle {
    /// A process that begins.
    pub fn new(health_checks: Arc<HealthCheckState>) -> Self {
        Self {
            started: Instant::now(),
            phase: AtomicU8::new(State::PreInitializing as u8),
            health_checks,
            stop: watch::Sender::new(false),
        }
    }

    /// The present state.
    pub fn state(&self) -> State {
        match self.phase.load(Ordering::Relaxed) {
            0 if self.health_checks.failing() => State::Draining,
            0 => State::Live,
            1 => State::Draining,
            2 => State::PreInitializing,
            _ => State::Initializing,
        }
    }

    /// Whether it has begun to serve.
    pub fn has_started(&self) -> bool {
        self.phase.load(Ordering::Relaxed) <= State::Draining as u8
    }

    /// Moves on to a state.
    pub fn set_state(&self, state: State) {
        self.phase.store(state as u8, Ordering::Relaxed);
    }

    /// Makes health checks fail, or pass again.
    pub fn fail_health_checks(&self, fail: bool) {
        self.health_checks.fail(fail);
    }

    /// How long the process has run.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the process: workers end their connections, logs are written.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Completes when the process shall end.
    pub async fn stopped(&self) {
        // An error means that `self` is gone, and then nobody waits.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_health_check_drains_a_live_process_only() {
        let lifecycle = Lifecycle::new(Arc::default());
        lifecycle.fail_health_checks(true);
        assert_eq!(lifecycle.state(), State::PreInitializing);
        lifecycle.set_state(State::Live);
        assert_eq!(lifecycle.state().name(), "DRAINING");
        lifecycle.fail_health_checks(false);
        assert_eq!(lifecycle.state().name(), "LIVE");
    }
}
