//! What a start waits for: targets that must be ready before listeners accept connections.
//!
//! The process has one [`InitManager`], and so has each listener that fetches something (routes, say); a listener that is
//! added while the process runs waits for its own ("warms") before it serves.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

/// Counts what is not ready yet; clusters that resolve names, listeners that fetch routes.
#[derive(Debug)]
pub struct InitManager {
    shared: Arc<Shared>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    /// By age.
    waiting: Vec<Waiting>,
}

struct Waiting {
    id: u64,
    name: String,
    start: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Default for InitManager {
    fn default() -> Self {
        let shared = Shared { state: Mutex::default(), changed: watch::Sender::new(()) };
        Self { shared: Arc::new(shared), next: AtomicU64::new(0) }
    }
}

/// Something that is waited for. It is ready when it says so or is dropped: a failed target must not block for ever.
#[derive(Debug)]
pub struct InitTarget {
    id: u64,
    shared: Arc<Shared>,
}

impl InitManager {
    /// Adds a target whose work goes on already; `name` is shown by `/init_dump`.
    pub fn add(&self, name: impl Into<String>) -> InitTarget {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.shared.lock().waiting.push(Waiting { id, name: name.into(), start: None });
        InitTarget { id, shared: Arc::clone(&self.shared) }
    }

    /// Adds a target whose work begins with [`start`](Self::start), at once if that has happened. `begin` gets the target and
    /// keeps it until it is ready; it runs on the main thread, in its runtime.
    pub fn add_to_start(&self, name: impl Into<String>, begin: impl FnOnce(InitTarget) + Send + 'static) {
        let target = self.add(name);
        let id = target.id;
        let mut state = self.shared.lock();
        if state.started {
            drop(state);
            return begin(target);
        }
        if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.id == id) {
            waiting.start = Some(Box::new(move || begin(target)));
        }
    }

    /// Begins the work of all targets.
    pub fn start(&self) {
        let mut state = self.shared.lock();
        state.started = true;
        let begin: Vec<_> = state.waiting.iter_mut().filter_map(|waiting| waiting.start.take()).collect();
        drop(state);
        begin.into_iter().for_each(|begin| begin());
    }

    /// The names of the targets that are not ready.
    pub fn waiting(&self) -> Vec<String> {
        self.shared.lock().waiting.iter().map(|waiting| waiting.name.clone()).collect()
    }

    /// Whether all targets are ready.
    pub fn is_ready(&self) -> bool {
        self.shared.lock().waiting.is_empty()
    }

    /// Completes when all targets are ready.
    pub async fn ready(&self) {
        let mut changed = self.shared.changed.subscribe();
        while !self.is_ready() {
            // proven: the sender lives in `self`, so this cannot fail.
            let _ = changed.changed().await;
        }
    }
}

impl Drop for InitManager {
    /// Targets that were never begun hold what they belong to.
    fn drop(&mut self) {
        let begin: Vec<_> = self.shared.lock().waiting.iter_mut().filter_map(|it| it.start.take()).collect();
        drop(begin);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InitTarget {
    /// Says that it is ready.
    pub fn ready(self) {}
}

impl Drop for InitTarget {
    fn drop(&mut self) {
        self.shared.lock().waiting.retain(|waiting| waiting.id != self.id);
        self.shared.changed.send_replace(());
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

    #[tokio::test(flavor = "current_thread")]
    async fn work_begins_with_the_start() {
        let manager = InitManager::default();
        let (tell, told) = std::sync::mpsc::channel();
        let begin = |number| {
            let tell = tell.clone();
            move |target: InitTarget| tell.send((number, target)).unwrap()
        };
        manager.add_to_start("early", begin(1));
        assert!(told.try_recv().is_err() && !manager.is_ready());
        manager.start();
        manager.add_to_start("late", begin(2));
        assert_eq!(manager.waiting(), ["early", "late"]);
        for expected in [1, 2] {
            let (number, target) = told.try_recv().unwrap();
            assert_eq!(number, expected);
            target.ready();
        }
        assert!(manager.is_ready());
    }
}
