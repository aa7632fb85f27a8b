//! Draining: how the listeners that stop tell their connections about it.

use tokio::sync::watch;

/// How far a listener is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainState {
    /// It serves.
    #[default]
    Serving,
    /// It stops: protocols that can should ask their clients to leave.
    Draining,
    /// Time is up: connections are closed.
    Closed,
}

/// The side that decides.
#[derive(Debug)]
pub struct DrainSignal(watch::Sender<DrainState>);

impl Default for DrainSignal {
    fn default() -> Self {
        Self(watch::Sender::new(DrainState::Serving))
    }
}

impl DrainSignal {
    /// Tells everybody; a state never goes back.
    pub fn advance(&self, state: DrainState) {
        self.0.send_if_modified(|now| {
            let later = (state as u8) > (*now as u8);
            if later {
                *now = state;
            }
            later
        });
    }

    /// A watch for one connection.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch(self.0.subscribe())
    }

    /// The present state.
    pub fn state(&self) -> DrainState {
        *self.0.borrow()
    }
}

/// The side that listens; one per connection, and clones of it.
#[derive(Debug, Clone)]
pub struct DrainWatch(watch::Receiver<DrainState>);

impl DrainWatch {
    /// The present state.
    pub fn state(&self) -> DrainState {
        *self.0.borrow()
    }

    /// Waits until that state, or a later one, is reached. If the listener is gone, that is `Closed`.
    pub async fn reached(&mut self, state: DrainState) {
        // An error means that the signal was dropped, which ends the wait all the same.
        let _ = self.0.wait_for(|now| (*now as u8) >= (state as u8)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_watch_sees_every_later_state_and_never_an_earlier_one() {
        let signal = DrainSignal::default();
        let mut watch = signal.watch();
        assert_eq!(watch.state(), DrainState::Serving);
        signal.advance(DrainState::Closed);
        signal.advance(DrainState::Draining);
        assert_eq!(signal.state(), DrainState::Closed);
        watch.reached(DrainState::Draining).await;
    }
}
