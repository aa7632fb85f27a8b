//! One direction of a pair: its queue, who waits for what, and how it ended.

use std::io;
use std::task::{Context, Poll, Waker};

use super::queue::Queue;

/// What one end writes and the other reads.
pub(super) struct Direction {
    pub(super) queue: Queue,
    pub(super) writer: Writer,
    pub(super) reader_gone: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

/// What the writing end has said about the future of its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// More bytes may come.
    Open,
    /// No more bytes: end of stream behind the queued ones.
    Finished,
    /// Gone without saying so: it depends on the reading end whether that is an orderly end.
    Gone,
    /// A reset behind the queued bytes.
    Reset,
}

/// What the reader finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    Bytes,
    /// The writer finished.
    End,
    /// The writer is gone without having finished.
    Gone,
}

impl Direction {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queue: Queue::new(limit),
            writer: Writer::Open,
            reader_gone: false,
            read_waker: None,
            write_waker: None,
        }
    }

    /// Waits for bytes, or for the certainty that none will come.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readable>> {
        if self.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if self.queue.len() > 0 {
            return Poll::Ready(Ok(Readable::Bytes));
        }
        match self.writer {
            Writer::Finished => Poll::Ready(Ok(Readable::End)),
            Writer::Gone => Poll::Ready(Ok(Readable::Gone)),
            Writer::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Writer::Open => {
                remember(&mut self.read_waker, cx);
                Poll::Pending
            }
        }
    }

    /// Waits until at least one byte can be written, or none ever again.
    ///
    /// Envoy reports EINVAL after a shutdown of the own side and after the peer's close; `BrokenPipe` is what a kernel
    /// socket says, and what callers of `AsyncWrite` expect.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reader_gone || self.writer != Writer::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.queue.is_full() {
            remember(&mut self.write_waker, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until nobody will read any more. Shares the waker of writes.
    pub(super) fn poll_reader_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.reader_gone {
            return Poll::Ready(());
        }
        remember(&mut self.write_waker, cx);
        Poll::Pending
    }

    /// Waits until the writer has reset, or is gone without having finished, which may be a usual end. Shares the waker of
    /// reads.
    pub(super) fn poll_writer_aborted(&mut self, cx: &mut Context<'_>, may_go: bool) -> Poll<()> {
        if self.writer == Writer::Reset || self.writer == Writer::Gone && !may_go {
            return Poll::Ready(());
        }
        remember(&mut self.read_waker, cx);
        Poll::Pending
    }

    /// Ends the writes; a reset overrides what was said before. The reader is to be woken.
    #[must_use = "wake it outside of every borrow"]
    pub(super) fn end_writes(&mut self, how: Writer) -> Option<Waker> {
        if self.writer == Writer::Open || how == Writer::Reset {
            self.writer = how;
        }
        self.write_waker = None;
        self.read_waker.take()
    }

    /// Ends the writes where the reader learns of it in another way.
    pub(super) fn note_finished(&mut self) {
        if self.writer == Writer::Open {
            self.writer = Writer::Finished;
        }
    }

    /// Nobody reads any more: the queued bytes, which are returned, have nowhere to go. The writer is to be woken.
    #[must_use = "drop and wake outside of every borrow"]
    pub(super) fn end_reads(&mut self) -> (Queue, Option<Waker>) {
        self.reader_gone = true;
        self.read_waker = None;
        (std::mem::replace(&mut self.queue, Queue::new(1)), self.write_waker.take())
    }

    /// Whether more may come, nothing waits, and there is somebody to read it.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_open() && self.queue.len() == 0
    }

    /// Whether neither end has ended this direction.
    pub(super) fn is_open(&self) -> bool {
        self.writer == Writer::Open && !self.reader_gone
    }

    /// Keeps the task that waits to read although it does not wait for the queue.
    pub(super) fn remember_reader(&mut self, cx: &Context<'_>) {
        remember(&mut self.read_waker, cx);
    }

    /// Keeps the task that waits to write although it does not wait for the queue.
    pub(super) fn remember_writer(&mut self, cx: &Context<'_>) {
        remember(&mut self.write_waker, cx);
    }

    /// Wakes who waits to read. Wakers of tasks only queue them, so nothing is called back.
    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.read_waker.take() {
            waker.wake();
        }
    }

    /// Wakes who waits to write.
    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.write_waker.take() {
            waker.wake();
        }
    }

    /// The reader to wake because something arrived.
    pub(super) fn reader_to_wake(&mut self) -> Option<Waker> {
        self.read_waker.take()
    }

    /// The writer to wake if the queue was `drained` to its low watermark.
    pub(super) fn writer_to_wake(&mut self, drained: bool) -> Option<Waker> {
        if drained { self.write_waker.take() } else { None }
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}
