//! What a relay tells about the bytes it moves.

use std::cell::Cell;

use super::Side;

/// Hears of every byte and of every pause. Each method has a default that ignores it.
///
/// Called on the data path: an implementation adds to plain cells and nothing more.
pub trait Accounting {
    /// `n` bytes were read from downstream.
    fn downstream_read(&self, n: u64) {
        let _ = n;
    }

    /// `n` bytes were accepted by downstream.
    fn downstream_written(&self, n: u64) {
        let _ = n;
    }

    /// `n` bytes were read from upstream.
    fn upstream_read(&self, n: u64) {
        let _ = n;
    }

    /// `n` bytes were accepted by upstream.
    fn upstream_written(&self, n: u64) {
        let _ = n;
    }

    /// `n` bytes were read from downstream and accepted by upstream in one go, since the hop is fused.
    fn passed_upstream(&self, n: u64) {
        self.downstream_read(n);
        self.upstream_written(n);
    }

    /// `n` bytes were read from upstream and accepted by downstream in one go.
    fn passed_downstream(&self, n: u64) {
        self.upstream_read(n);
        self.downstream_written(n);
    }

    /// Reading of `side` stopped because the other side does not take more.
    fn paused_reading(&self, side: Side) {
        let _ = side;
    }

    /// Reading of `side` goes on after a pause.
    fn resumed_reading(&self, side: Side) {
        let _ = side;
    }

    /// The end of stream of `side` was read.
    fn ended(&self, side: Side) {
        let _ = side;
    }

    /// Downstream is closed in both directions and bytes still wait to be written upstream.
    fn upstream_flush_started(&self) {}

    /// The bytes of [`upstream_flush_started`](Self::upstream_flush_started) are written, or given up.
    fn upstream_flush_finished(&self) {}
}

/// Counts the bytes of one relay in plain cells.
#[derive(Debug, Default)]
pub struct RelayCounts {
    /// Bytes read from downstream.
    pub downstream_read: Cell<u64>,
    /// Bytes accepted by downstream.
    pub downstream_written: Cell<u64>,
    /// Bytes read from upstream.
    pub upstream_read: Cell<u64>,
    /// Bytes accepted by upstream.
    pub upstream_written: Cell<u64>,
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().wrapping_add(n));
}

impl Accounting for RelayCounts {
    fn downstream_read(&self, n: u64) {
        add(&self.downstream_read, n);
    }

    fn downstream_written(&self, n: u64) {
        add(&self.downstream_written, n);
    }

    fn upstream_read(&self, n: u64) {
        add(&self.upstream_read, n);
    }

    fn upstream_written(&self, n: u64) {
        add(&self.upstream_written, n);
    }
}
