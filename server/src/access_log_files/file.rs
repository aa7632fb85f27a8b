//! One access log: the queue that workers fill, and the file that the writer empties it into.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use underpass_core::access_log::AccessLogSink;

use super::{FileStats, Settings, target::Target, writer::Schedule};

/// One access log, shared by all who log to its path.
pub(super) struct LogFile {
    queue: Mutex<Vec<u8>>,
    /// Only the writer locks it, so it may be held while the disk is slow.
    output: Mutex<Output>,
    settings: Settings,
    stats: FileStats,
    schedule: Arc<Schedule>,
}

struct Output {
    target: Target,
    /// The queue's memory while it is not in use, so that the two take turns.
    spare: Vec<u8>,
}

impl LogFile {
    pub(super) fn new(target: Target, settings: Settings, stats: FileStats, schedule: Arc<Schedule>) -> Self {
        let output = Mutex::new(Output { target, spare: Vec::new() });
        Self { queue: Mutex::default(), output, settings, stats, schedule }
    }

    /// Writes what is queued.
    pub(super) fn flush(&self) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let Output { target, spare } = &mut *output;
        mem::swap(&mut *self.queue(), spare);
        if spare.is_empty() {
            return;
        }
        match target.write(spare) {
            Ok(()) => self.stats.write_completed.inc(),
            Err(_) => self.stats.write_failed.inc(),
        }
        self.stats.write_total_buffered.sub(spare.len() as u64);
        spare.clear();
        // What a burst took is given back, or as many bursts as there are files stay in memory.
        spare.shrink_to(self.settings.flush_size);
    }

    /// Opens the file anew. Lines that are queued go to the new one.
    pub(super) fn reopen(&self) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = output.target.reopen() {
            self.stats.reopen_failed.inc();
            tracing::error!(target: "file", "cannot reopen an access log: {error}");
        }
    }

    /// Whether nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    fn queue(&self) -> MutexGuard<'_, Vec<u8>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLogSink for LogFile {
    fn write(&self, line: String) {
        let (before, after) = {
            let mut queue = self.queue();
            let before = queue.len();
            if before + line.len() > self.settings.queue_limit {
                drop(queue);
                self.stats.write_dropped.inc();
                return;
            }
            queue.extend_from_slice(line.as_bytes());
            (before, queue.len())
        };
        self.stats.write_buffered.inc();
        self.stats.write_total_buffered.add(line.len() as u64);
        // The writer is told of the first line and when there is enough, and not of every line in between.
        let flush_size = self.settings.flush_size;
        if before <= flush_size && after > flush_size {
            self.schedule.flush_now();
        } else if before == 0 && after > 0 {
            self.schedule.flush_soon();
        }
    }
}
