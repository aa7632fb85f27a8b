//! The signals that mean something: they end the process or reopen its logs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use underpass_core::runtime::DRAIN_ON_TERM;

use super::Server;
use crate::lifecycle::State;

/// The signals that mean something here.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Serves signals until one of them ends the process.
    pub(super) async fn stopped(&mut self, server: &Server) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {
                    tracing::warn!(target: "main", "caught SIGTERM");
                    if self.may_stop(server).await { return; }
                }
                _ = self.interrupt.recv() => {
                    tracing::warn!(target: "main", "caught SIGINT");
                    return;
                }
                _ = self.reopen.recv() => {
                    tracing::info!(target: "main", "caught SIGUSR1: reopening logs");
                    server.reopen_logs();
                }
                _ = self.hangup.recv() => {
                    tracing::warn!(target: "main", "caught SIGHUP: ignored");
                }
            }
        }
    }

    /// Whether TERM ends the process: at once, or with `drain_on_term` when the listeners are drained or TERM comes again.
    async fn may_stop(&mut self, server: &Server) -> bool {
        if !server.context.runtime.snapshot().feature(DRAIN_ON_TERM) {
            return true;
        }
        server.lifecycle.set_state(State::Draining);
        let drained = server.listeners.drain();
        tokio::select! {
            () = drained => {}
            _ = self.terminate.recv() => tracing::warn!(target: "main", "caught SIGTERM again: stopping at once"),
            _ = self.interrupt.recv() => tracing::warn!(target: "main", "caught SIGINT: stopping at once"),
        }
        true
    }
}
