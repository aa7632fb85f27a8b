//! Letting go of listeners, filter chains and the whole process, without haste.

use std::{sync::Arc, time::Duration};

use underpass_core::drain::DrainState;

use super::{
    ListenerManager, Which,
    snapshot::{Placement, RetiredChains},
    state::{Phase, State},
};
use crate::listener::{Tag, filter_chain::FilterChain, socket::ListenSocket};

/// How often it is looked whether the last connection has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl ListenerManager {
    /// Drains a listener that was replaced or removed. Sockets that were not taken over close at once, so that clients fail
    /// fast rather than wait in the queue.
    pub(super) fn retire(&self, state: &mut State, old: &Placement, taken_over: &[Arc<ListenSocket>]) {
        let closes = |socket: &&Arc<ListenSocket>| !taken_over.iter().any(|taken| Arc::ptr_eq(taken, socket));
        old.sockets.iter().filter(closes).for_each(|socket| socket.close());
        if state.phase < Phase::Started {
            return;
        }
        advance(old.all_chains(), DrainState::Draining);
        let mut draining = old.stopped();
        draining.draining = Some(Arc::new(self.stats.total_listeners_draining.hold()));
        let tag = draining.tag();
        state.draining.push(Arc::new(draining));
        self.after_drain_time(move |manager| manager.end_listener(tag));
    }

    fn end_listener(&self, tag: Tag) {
        let mut state = self.lock();
        let over: Vec<_> = state.draining.extract_if(.., |placement| placement.tag() == tag).collect();
        over.iter().for_each(|placement| advance(placement.all_chains(), DrainState::Closed));
        self.publish(&mut state);
    }

    /// Drains chains that an update in place took away from a listener.
    pub(super) fn drain_chains(&self, tag: Tag, retired: &Arc<RetiredChains>) {
        advance(&retired.chains, DrainState::Draining);
        let retired = Arc::clone(retired);
        self.after_drain_time(move |manager| manager.end_chains(tag, &retired));
    }

    fn end_chains(&self, tag: Tag, retired: &Arc<RetiredChains>) {
        let mut state = self.lock();
        advance(&retired.chains, DrainState::Closed);
        state.replace(tag, |placement| placement.without_retired(retired));
        self.publish(&mut state);
    }

    /// Stops listeners without removing them: kernel sockets close at once, connections go on, and internal listeners
    /// still accept, as in Envoy (`POST /drain_listeners`). No such listener is added any more.
    pub fn stop_listeners(&self, which: Which) {
        let mut state = self.lock();
        if state.stopped != Some(Which::All) {
            state.stopped = Some(which);
        }
        for placement in state
            .active
            .values_mut()
            .filter(|placement| which.includes(placement.listener.base.info.direction))
        {
            if placement.stopped {
                continue;
            }
            placement.sockets.iter().for_each(|socket| socket.close());
            *placement = Arc::new(placement.stopped());
            self.stats.listener_stopped.inc();
        }
        self.publish(&mut state);
    }

    /// Asks clients to leave (`POST /drain_listeners?graceful`): protocols that can do so tell them. After the drain time
    /// the listeners stop, unless they shall serve on (`skip_exit`).
    ///
    /// To be called in a tokio runtime.
    pub fn drain_gracefully(&self, which: Which, then_stop: bool) {
        self.ask_to_leave(which);
        if then_stop {
            self.after_drain_time(move |manager| manager.stop_listeners(which));
        }
    }

    /// Stops all listeners, asks clients to leave, and waits until the last one did or the drain time is over.
    pub async fn drain(&self) {
        self.ask_to_leave(Which::All);
        self.stop_listeners(Which::All);
        let last_one_left = async {
            while self.connections() > 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        // Time is up: whoever is still there is cut off when the process ends.
        let _ = tokio::time::timeout(self.server.options.drain_time, last_one_left).await;
    }

    fn ask_to_leave(&self, which: Which) {
        let state = self.lock();
        let listeners =
            state.active.values().filter(|placement| which.includes(placement.listener.base.info.direction));
        listeners.for_each(|placement| advance(placement.all_chains(), DrainState::Draining));
    }

    fn after_drain_time(&self, end: impl FnOnce(&Self) + Send + 'static) {
        let (manager, time) = (self.this.clone(), self.server.options.drain_time);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(manager) = manager.upgrade() {
                end(&manager);
            }
        });
    }
}

fn advance<'c>(chains: impl IntoIterator<Item = &'c Arc<FilterChain>>, state: DrainState) {
    chains.into_iter().for_each(|chain| chain.drain.advance(state));
}
