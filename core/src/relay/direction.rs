//! One direction of a relay: read, write, pass on the end.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{Accounting, Operation, Side};
use crate::io::BoxIo;

/// The smallest buffer, which serves requests and keys pressed.
const MIN_BUFFER: usize = 4 * 1024;
/// The largest; reads of this size are what makes bulk cheap (Envoy reads as much at once).
const MAX_BUFFER: usize = 256 * 1024;
/// From this many bytes on, handing over the buffer beats copying it.
const HAND_OVER_FROM: usize = 16 * 1024;

/// The state of one direction. It holds memory only between a read and the write of what was read.
#[derive(Debug)]
pub(super) struct Direction {
    /// Whose bytes these are.
    from: Side,
    phase: Phase,
    /// Bytes that were handed over and wait to be written. Used up before `buffer`.
    chunk: Bytes,
    /// Bytes that were read; those before `written` are written.
    buffer: BytesMut,
    written: usize,
    /// The size of the next buffer, grown and shrunk with the traffic.
    next_size: usize,
    limit: usize,
    paused: bool,
    unflushed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// End of stream was read; it is passed on once everything is written.
    Ended,
    Done,
}

/// Why a direction cannot go on.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) side: Side,
    pub(super) operation: Operation,
    pub(super) error: io::Error,
}

impl Direction {
    pub(super) fn new(from: Side, limit: usize, early: Bytes) -> Self {
        let limit = limit.clamp(1, MAX_BUFFER);
        Self {
            from,
            phase: Phase::Reading,
            chunk: early,
            buffer: BytesMut::new(),
            written: 0,
            next_size: MIN_BUFFER.min(limit),
            limit,
            paused: false,
            unflushed: false,
        }
    }

    /// Whether bytes wait to be written.
    pub(super) fn has_pending(&self) -> bool {
        !self.chunk.is_empty() || self.written < self.buffer.len()
    }

    /// Whether the end of stream of this direction's source was read.
    pub(super) fn has_ended(&self) -> bool {
        self.phase != Phase::Reading
    }

    /// Moves bytes until it must wait, the direction is done, or a side fails. `active` is set if any moved.
    pub(super) fn poll_pump(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut BoxIo,
        sink: &mut BoxIo,
        accounting: &dyn Accounting,
        active: &mut bool,
    ) -> Poll<Result<(), Failure>> {
        loop {
            ready!(self.poll_write_pending(cx, sink, accounting, active))?;
            match self.phase {
                Phase::Reading => match self.poll_read(cx, source) {
                    Poll::Ready(Ok(0)) => {
                        self.phase = Phase::Ended;
                        self.release();
                        accounting.ended(self.from);
                        *active = true;
                    }
                    Poll::Ready(Ok(n)) => {
                        self.count_read(accounting, n);
                        *active = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.read_failure(error))),
                    Poll::Pending => {
                        self.release();
                        ready!(self.poll_flush(cx, sink))?;
                        return Poll::Pending;
                    }
                },
                Phase::Ended => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx))
                        .map_err(|error| self.sink_failure(Operation::Shutdown, error))?;
                    self.phase = Phase::Done;
                }
                Phase::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_pending(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut BoxIo,
        accounting: &dyn Accounting,
        active: &mut bool,
    ) -> Poll<Result<(), Failure>> {
        while self.has_pending() {
            match self.poll_write(cx, sink) {
                Poll::Ready(Ok(0)) => {
                    let error = io::ErrorKind::WriteZero.into();
                    return Poll::Ready(Err(self.sink_failure(Operation::Write, error)));
                }
                Poll::Ready(Ok(n)) => {
                    self.unflushed = true;
                    *active = true;
                    self.count_written(accounting, n);
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.sink_failure(Operation::Write, error)));
                }
                Poll::Pending => {
                    if !self.paused {
                        self.paused = true;
                        accounting.paused_reading(self.from);
                    }
                    return Poll::Pending;
                }
            }
        }
        if self.paused {
            self.paused = false;
            accounting.resumed_reading(self.from);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, sink: &mut BoxIo) -> Poll<io::Result<usize>> {
        if !self.chunk.is_empty() {
            return sink.poll_write_bytes(cx, &mut self.chunk);
        }
        if self.written == 0 && self.buffer.len() >= HAND_OVER_FROM && sink.takes_bytes() {
            self.chunk = self.buffer.split().freeze();
            return sink.poll_write_bytes(cx, &mut self.chunk);
        }
        let n = ready!(Pin::new(sink).poll_write(cx, &self.buffer[self.written..]))?;
        self.written += n;
        Poll::Ready(Ok(n))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, source: &mut BoxIo) -> Poll<io::Result<usize>> {
        if source.lends_bytes() {
            self.chunk = ready!(source.poll_read_bytes(cx, self.limit))?;
            return Poll::Ready(Ok(self.chunk.len()));
        }
        self.buffer.clear();
        self.written = 0;
        self.buffer.reserve(self.next_size);
        let mut target = (&mut self.buffer).limit(self.next_size);
        let read = pin!(source.read_buf(&mut target));
        let n = ready!(read.poll(cx))?;
        self.adapt_size(n);
        Poll::Ready(Ok(n))
    }

    /// A read that filled its buffer asks for a larger one, a read far below for a smaller one.
    fn adapt_size(&mut self, read: usize) {
        if read == self.next_size {
            self.next_size = (self.next_size * 4).min(self.limit);
        } else if read < self.next_size / 16 {
            self.next_size = (self.next_size / 4).max(MIN_BUFFER.min(self.limit));
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut BoxIo) -> Poll<Result<(), Failure>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx))
                .map_err(|error| self.sink_failure(Operation::Write, error))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn release(&mut self) {
        self.buffer = BytesMut::new();
        self.written = 0;
    }

    fn count_read(&self, accounting: &dyn Accounting, n: usize) {
        match self.from {
            Side::Downstream => accounting.downstream_read(n as u64),
            Side::Upstream => accounting.upstream_read(n as u64),
        }
    }

    fn count_written(&self, accounting: &dyn Accounting, n: usize) {
        match self.from {
            Side::Downstream => accounting.upstream_written(n as u64),
            Side::Upstream => accounting.downstream_written(n as u64),
        }
    }

    fn read_failure(&self, error: io::Error) -> Failure {
        Failure { side: self.from, operation: Operation::Read, error }
    }

    fn sink_failure(&self, operation: Operation, error: io::Error) -> Failure {
        Failure { side: self.from.other(), operation, error }
    }
}
