//! The signals that mean something: they end the process, reopen its logs or have it read its configuration again.

use std::{io, pin::Pin};

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
        let mut reload: Option<Pin<Box<dyn Future<Output = ()> + '_>>> = None;
        let has_started = server.lifecycle.has_started();
        if has_started && server.reloads.wanted.take() {
            reload = server.reload().map(|work| Box::pin(work) as _);
        }
        loop {
            tokio::select! {
                () = going_on(&mut reload) => reload = None,
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
                    tracing::info!(target: "main", "caught SIGHUP");
                    if !has_started {
                        tracing::info!(target: "main", "the configuration will be read again when the start is done");
                        server.reloads.wanted.set(true);
                    } else if let Some(work) = server.reload() {
                        // What an earlier one still waits for is looked at again by this one.
                        reload = Some(Box::pin(work));
                    }
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
        server.service_manager.stopping("draining connections");
        let mut drained = std::pin::pin!(server.listeners.drain());
        loop {
            tokio::select! {
                () = &mut drained => return true,
                _ = self.terminate.recv() => {
                    tracing::warn!(target: "main", "caught SIGTERM again: stopping at once");
                    return true;
                }
                _ = self.interrupt.recv() => {
                    tracing::warn!(target: "main", "caught SIGINT: stopping at once");
                    return true;
                }
                _ = self.reopen.recv() => server.reopen_logs(),
                _ = self.hangup.recv() => {
                    tracing::warn!(target: "main", "caught SIGHUP: the process is ending, so nothing is read again");
                }
            }
        }
    }
}

/// Completes when the work is done; never, without any.
async fn going_on(work: &mut Option<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
