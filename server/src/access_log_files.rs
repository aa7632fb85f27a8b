//! The files of access logs: bounded queues that workers fill, and one thread that writes them.
//!
//! A worker that logs appends to a queue in memory and goes on. The writer empties the queues a moment after the first
//! line came, or at once when one has grown; on USR1 it opens the files anew, and at the end it writes what is
//! left. Envoy keeps lines for up to ten seconds (`--file-flush-interval-msec`); here that option can only
//! make the moment shorter, so that whoever looks at a log sees what just happened.

mod file;
mod target;
mod writer;

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use underpass_core::{
    access_log::{AccessLogManager, AccessLogSink},
    stat_group,
    stats::Scope,
};

use self::{file::LogFile, target::Target, writer::Writer};
use crate::command_line::{Mode, Options};

/// How long a line waits for others to be written with.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// How much memory the queue of one file may take. At a hundred bytes a line it is a second of 80,000 lines.
const QUEUE_LIMIT: usize = 8 * 1024 * 1024;

/// How long the process waits at its end for logs that cannot be written.
const LAST_FLUSH: Duration = Duration::from_secs(5);

stat_group! {
    /// What Envoy counts of its files, and what did not fit.
    struct FileStats {
        /// Lines that were queued.
        counter write_buffered,
        /// Writes that succeeded; one may hold many lines.
        counter write_completed,
        /// Writes that failed, for example because the disk is full.
        counter write_failed,
        /// Lines that were dropped because the queue was full.
        counter write_dropped,
        /// Bytes that wait to be written.
        gauge write_total_buffered,
        /// Writes because of the time that had passed, rather than the amount.
        counter flushed_by_timer,
        /// Files that could not be opened anew.
        counter reopen_failed,
    }
}

/// When queues are written, and how much they hold.
#[derive(Debug, Clone, Copy)]
struct Settings {
    flush_after: Duration,
    flush_size: usize,
    queue_limit: usize,
    last_flush: Duration,
}

/// The access logs of a process, by path.
pub(crate) struct AccessLogFiles {
    writer: Arc<Writer>,
    settings: Settings,
    stats: FileStats,
    /// Checking a configuration opens the files, to find out whether they can be, but starts no thread.
    validating: bool,
    started: OnceLock<()>,
}

impl AccessLogFiles {
    /// No file is open yet. `stats` is the root of all stats.
    pub(crate) fn new(stats: &Scope, options: &Options) -> Self {
        let asked_for = Duration::from_millis(options.file_flush_interval_msec);
        let flush_size = usize::try_from(options.file_flush_min_size_kb).unwrap_or(usize::MAX);
        let settings = Settings {
            flush_after: FLUSH_AFTER.min(asked_for),
            flush_size: flush_size.saturating_mul(1024),
            queue_limit: QUEUE_LIMIT,
            last_flush: LAST_FLUSH,
        };
        Self::with_settings(stats, settings, options.mode == Mode::Validate)
    }

    fn with_settings(stats: &Scope, settings: Settings, validating: bool) -> Self {
        let stats = FileStats::new(&stats.scope("filesystem"));
        let writer = Arc::new(Writer::new(settings.flush_after, stats.flushed_by_timer.clone()));
        Self { writer, settings, stats, validating, started: OnceLock::new() }
    }

    /// Opens all files anew, after what was queued has gone to the old ones (USR1, `/reopen_logs`).
    pub(crate) fn reopen(&self) {
        self.writer.schedule().reopen();
    }

    /// Writes what is queued, and waits for that; but not for ever, since a pipe may have nobody at its other end.
    pub(crate) fn flush_all(&self) {
        if self.started.get().is_some() {
            self.writer.schedule().flush_and_wait(self.settings.last_flush);
        }
    }

    fn start(&self) {
        self.started.get_or_init(|| {
            let writer = Arc::clone(&self.writer);
            let started = thread::Builder::new().name("access_logs".to_owned()).spawn(move || writer.run());
            if let Err(error) = started {
                tracing::error!(target: "main", "cannot start the thread that writes access logs: {error}");
            }
        });
    }
}

impl AccessLogManager for AccessLogFiles {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn AccessLogSink>> {
        let file = self.writer.file(path, || {
            let target = Target::open(path)?;
            Ok(LogFile::new(target, self.settings, self.stats.clone(), Arc::clone(self.writer.schedule())))
        })?;
        if !self.validating {
            self.start();
        }
        Ok(file)
    }
}

impl Drop for AccessLogFiles {
    fn drop(&mut self) {
        self.writer.schedule().stop();
    }
}

#[cfg(test)]
mod tests;
