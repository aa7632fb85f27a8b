//! The thread that writes access logs, and how it is told what to do.

use std::{
    collections::HashMap,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use underpass_core::stats::Counter;

use super::file::LogFile;

/// The files, and what their thread does with them.
pub(super) struct Writer {
    files: Mutex<HashMap<PathBuf, Arc<LogFile>>>,
    schedule: Arc<Schedule>,
}

impl Writer {
    pub(super) fn new(flush_after: Duration, flushed_by_timer: Counter) -> Self {
        Self { files: Mutex::default(), schedule: Arc::new(Schedule::new(flush_after, flushed_by_timer)) }
    }

    pub(super) fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }

    /// The file of a path, opened if it is not open yet.
    pub(super) fn file(
        &self,
        path: &Path,
        open: impl FnOnce() -> io::Result<LogFile>,
    ) -> io::Result<Arc<LogFile>> {
        let mut files = self.files();
        if let Some(file) = files.get(path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open()?);
        files.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    /// Writes until it is told to stop.
    pub(super) fn run(&self) {
        loop {
            let work = self.schedule.wait();
            for file in self.used_files() {
                file.flush();
                if work.reopen {
                    file.reopen();
                }
            }
            self.schedule.done(work);
            if work.stop {
                return;
            }
        }
    }

    /// The files that are in use. One that nobody logs to any more, since its listener is gone, is closed.
    fn used_files(&self) -> Vec<Arc<LogFile>> {
        let mut files = self.files();
        files.retain(|_, file| Arc::strong_count(file) > 1 || !file.is_empty());
        files.values().cloned().collect()
    }

    fn files(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<LogFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer has to do, and when.
pub(super) struct Schedule {
    flush_after: Duration,
    flushed_by_timer: Counter,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// When the oldest line that waits has to be written.
    due: Option<Instant>,
    work: Work,
    /// How often somebody has asked for a flush to wait for, and how many of these are done.
    asked: u64,
    done: u64,
}

/// What to do besides writing what is queued.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    flush: bool,
    reopen: bool,
    stop: bool,
    /// Up to which request to wait for this fulfils.
    asked: u64,
}

impl Schedule {
    fn new(flush_after: Duration, flushed_by_timer: Counter) -> Self {
        Self { flush_after, flushed_by_timer, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Something was queued, and may wait a moment.
    pub(super) fn flush_soon(&self) {
        let mut state = self.state();
        if state.due.is_none() {
            state.due = Some(Instant::now() + self.flush_after);
            self.changed.notify_all();
        }
    }

    /// Much was queued.
    pub(super) fn flush_now(&self) {
        self.change(|state| state.work.flush = true);
    }

    /// The files shall be opened anew.
    pub(super) fn reopen(&self) {
        self.change(|state| state.work.reopen = true);
    }

    /// The thread shall write what is left, and end.
    pub(super) fn stop(&self) {
        self.change(|state| state.work.stop = true);
    }

    /// Has everything written, and waits for that at most this long.
    pub(super) fn flush_and_wait(&self, at_most: Duration) {
        let mut state = self.state();
        state.asked += 1;
        state.work.flush = true;
        self.changed.notify_all();
        let asked = state.asked;
        let outcome = self.changed.wait_timeout_while(state, at_most, |state| state.done < asked);
        drop(outcome.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Work {
        let mut state = self.state();
        loop {
            let Work { flush, reopen, stop, .. } = state.work;
            let now = Instant::now();
            let is_due = state.due.is_some_and(|due| due <= now);
            if flush || reopen || stop || is_due {
                if is_due && !flush {
                    self.flushed_by_timer.inc();
                }
                state.due = None;
                let work = Work { asked: state.asked, ..mem::take(&mut state.work) };
                return work;
            }
            let most = state.due.map_or(Duration::MAX, |due| due - now);
            let outcome = self.changed.wait_timeout(state, most);
            state = outcome.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self, work: Work) {
        self.change(|state| state.done = work.asked);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
