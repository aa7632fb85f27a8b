//! What the start waits for: targets that must be ready before listeners accept connections.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Counts what is not ready yet; clusters that resolve names, listeners that fetch routes.
#[derive(Debug)]
pub struct InitManager {
    waiting: Arc<Mutex<Vec<String>>>,
    changed: watch::Sender<()>,
}

impl Default for InitManager {
    fn default() -> Self {
        Self { waiting: Arc::default(), changed: watch::Sender::new(()) }
    }
}

/// Something the start waits for. It is ready when it says so or is dropped: a failed target must not block for ever.
#[derive(Debug)]
pub struct InitTarget {
    name: String,
    waiting: Arc<Mutex<Vec<String>>>,
    changed: watch::Sender<()>,
}

impl InitManager {
    /// Adds a target; `name` is shown by `/init_dump`.
    pub fn add(&self, name: impl Into<String>) -> InitTarget {
        let name = name.into();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        InitTarget { name, waiting: Arc::clone(&self.waiting), changed: self.changed.clone() }
    }

    /// The names of the targets that are not ready.
    pub fn waiting(&self) -> Vec<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Completes when all targets are ready.
    pub async fn ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.waiting().is_empty() {
            // proven: the sender lives in `self`, so this cannot fail.
            let _ = changed.changed().await;
        }
    }
}

impl InitTarget {
    /// Says that it is ready.
    pub fn ready(self) {}
}

impl Drop for InitTarget {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = waiting.iter().position(|name| *name == self.name) {
            waiting.remove(at);
        }
        drop(waiting);
        self.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_start_waits_for_every_target() {
        let manager = InitManager::default();
        manager.ready().await;
        let (first, second) = (manager.add("cluster a"), manager.add("cluster b"));
        first.ready();
        assert_eq!(manager.waiting(), ["cluster b"]);
        let (waited, ()) = tokio::join!(manager.ready(), async { drop(second) });
        assert_eq!(waited, ());
    }
}
