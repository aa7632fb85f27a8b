//! One direction of a relay: read, write, pass on the end.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::pool::{BufferPool, BufferSize, Held};
use super::splice::Splicer;
use super::{Accounting, Operation, Side};
use crate::io::BoxIo;

/// From this many bytes on, handing over the buffer beats copying it.
const HAND_OVER_FROM: usize = 16 * 1024;

/// After so many bytes it is the turn of the worker's other connections: one whose peers keep up with us never has to
/// wait by itself. It is the largest buffer; across an internal hop, the other relay then finds the bytes in the cache.
/// Envoy's turn is the buffer limit. Turns of 1 MiB cost about the same CPU where it was measured, and small requests
/// beside bulk waited longer.
const TURN: usize = 256 * 1024;

/// The state of one direction. It holds a buffer or a pipe only while bytes are in it.
#[derive(Debug)]
pub(super) struct Direction {
    /// Whose bytes these are.
    from: Side,
    phase: Phase,
    /// The size of the next buffer, which follows the traffic.
    size: BufferSize,
    paused: bool,
    unflushed: bool,
    /// Whether bytes were read since the relay was polled.
    has_read_now: bool,
    ended_with_bytes: bool,
    /// Bytes in memory that wait to be written, and memory for more.
    held: Option<Box<Held>>,
    /// What passes through a pipe. It holds bytes only while there are none in memory.
    splicer: Splicer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// End of stream was read; it is passed on once everything is written.
    Ended,
    Done,
}

/// What a direction works with, which it does not own.
pub(super) struct Surroundings<'a> {
    pub(super) source: &'a mut BoxIo,
    pub(super) sink: &'a mut BoxIo,
    pub(super) accounting: &'a dyn Accounting,
    pub(super) pool: &'a BufferPool,
    /// Set when bytes or an end of stream moved.
    pub(super) active: &'a mut bool,
}

/// Why a direction cannot go on.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) side: Side,
    pub(super) operation: Operation,
    pub(super) error: io::Error,
}

impl Direction {
    /// A direction for the bytes of `from` that lets at most `limit` of them wait. `early` bytes go first.
    pub(super) fn new(from: Side, limit: u32, early: Bytes) -> Self {
        Self {
            from,
            phase: Phase::Reading,
            size: BufferSize::SMALLEST,
            held: (!early.is_empty()).then(|| Box::new(Held { chunk: early, ..Held::default() })),
            splicer: Splicer::new(limit.max(1)),
            paused: false,
            unflushed: false,
            has_read_now: false,
            ended_with_bytes: false,
        }
    }

    /// Whether bytes wait to be written.
    pub(super) fn has_pending(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.has_bytes()) || self.splicer.held() > 0
    }

    /// Whether the end of stream of the source was read.
    pub(super) fn has_ended(&self) -> bool {
        self.phase != Phase::Reading
    }

    /// Whether there is nothing to do but to wait for bytes.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Reading && !self.has_pending() && !self.unflushed && !self.paused
    }

    /// Lets at most `limit` bytes wait.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.splicer.limit = limit.max(1);
    }

    fn limit(&self) -> usize {
        self.splicer.limit as usize
    }

    /// Somebody else has written to the sink for this direction.
    pub(super) fn note_unflushed(&mut self) {
        self.unflushed = true;
    }

    /// Somebody else has read the end of the source's stream.
    pub(super) fn note_end(&mut self, accounting: &dyn Accounting, active: &mut bool) {
        *active = true;
        self.phase = Phase::Ended;
        accounting.ended(self.from);
    }

    /// Somebody else has read the end of the source's stream, has passed it on, and has told the accounting.
    pub(super) fn note_passed_on(&mut self) {
        self.phase = Phase::Done;
    }

    /// Whether reading waits until the sink takes what was read.
    pub(super) fn is_paused(&self) -> bool {
        self.phase == Phase::Reading && self.paused
    }

    /// Whether the last bytes came together with the end of stream.
    pub(super) fn ended_with_bytes(&self) -> bool {
        self.ended_with_bytes
    }

    /// Whether that end has been passed on too.
    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Moves bytes until it must wait, the direction is done, or a side fails.
    ///
    /// While the sink does not take what was read, reading goes on as long as the buffer at hand has room, which is how
    /// an end of stream close behind is seen; but no buffer grows for it.
    pub(super) fn poll_pump(
        &mut self,
        cx: &mut Context<'_>,
        around: &mut Surroundings<'_>,
    ) -> Poll<Result<(), Failure>> {
        let mut moved = 0;
        self.has_read_now = false;
        loop {
            let blocked = self.poll_write_pending(cx, around)?.is_pending();
            match self.phase {
                Phase::Reading if !blocked && moved >= TURN => {
                    cx.waker().wake_by_ref();
                    return self.poll_rest(cx, around);
                }
                Phase::Reading if blocked && !self.has_room(around) => {
                    self.pause(around.accounting);
                    return Poll::Pending;
                }
                Phase::Reading => match self.poll_read(cx, around) {
                    Poll::Ready(Ok(n)) => {
                        moved += n;
                        self.note_read(n, around);
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(self.source_failure(error)));
                    }
                    Poll::Pending if blocked => return Poll::Pending,
                    Poll::Pending => return self.poll_rest(cx, around),
                },
                Phase::Ended if blocked => return Poll::Pending,
                Phase::Ended => {
                    self.release(around.pool);
                    match ready!(Pin::new(&mut *around.sink).poll_shutdown(cx)) {
                        // A side that has left altogether needs no telling; if that was a reset, reading it says so.
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                            return Poll::Ready(Err(self.sink_failure(Operation::Shutdown, error)));
                        }
                        _ => self.phase = Phase::Done,
                    }
                }
                Phase::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Everything that was read is written: holds nothing until there is more. Pending unless the flush fails.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        around: &mut Surroundings<'_>,
    ) -> Poll<Result<(), Failure>> {
        self.release(around.pool);
        ready!(self.poll_flush(cx, around))?;
        Poll::Pending
    }

    /// Gives its buffer and its pipe back: nobody needs the bytes in them any more, or there are none.
    pub(super) fn release(&mut self, pool: &BufferPool) {
        self.splicer.release(pool);
        self.release_buffer(pool);
    }

    fn release_buffer(&mut self, pool: &BufferPool) {
        if let Some(held) = self.held.take() {
            pool.give(held);
        }
    }

    fn poll_write_pending(
        &mut self,
        cx: &mut Context<'_>,
        around: &mut Surroundings<'_>,
    ) -> Poll<Result<(), Failure>> {
        while self.has_pending() {
            let written = match ready!(self.poll_write(cx, around)) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                other => other,
            };
            let n = written.map_err(|error| self.sink_failure(Operation::Write, error))?;
            self.unflushed = true;
            *around.active = true;
            match self.from {
                Side::Downstream => around.accounting.upstream_written(n as u64),
                Side::Upstream => around.accounting.downstream_written(n as u64),
            }
        }
        if let Some(held) = &mut self.held {
            held.buffer.clear();
            held.written = 0;
        }
        self.resume(around.accounting);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, around: &mut Surroundings<'_>) -> Poll<io::Result<usize>> {
        let sink = &mut *around.sink;
        if self.splicer.held() > 0 {
            if let Some(spliced) = ready!(self.splicer.poll_out(cx, sink)) {
                return Poll::Ready(spliced);
            }
            let chunk = self.splicer.take_back()?.into();
            self.held.get_or_insert_with(|| around.pool.take_empty()).chunk = chunk;
        }
        let Some(held) = &mut self.held else { return Poll::Ready(Ok(0)) };
        if held.chunk.is_empty() && should_hand_over(held) && sink.takes_bytes() {
            held.chunk = std::mem::take(&mut held.buffer).freeze();
        }
        if !held.chunk.is_empty() {
            return sink.poll_write_bytes(cx, &mut held.chunk);
        }
        let n = ready!(Pin::new(sink).poll_write(cx, &held.buffer[held.written..]))?;
        held.written += n;
        Poll::Ready(Ok(n))
    }

    /// Whether more can be read while the sink is blocked.
    fn has_room(&self, around: &Surroundings<'_>) -> bool {
        // A source that lends bytes keeps them as well as we would. What comes behind bytes in a pipe has to wait.
        !around.source.lends_bytes() && self.held.as_ref().is_some_and(|held| self.room(held) > 0)
    }

    fn room(&self, held: &Held) -> usize {
        let size = self.size.bytes().min(self.limit()).min(held.buffer.capacity());
        size.saturating_sub(held.buffer.len())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, around: &mut Surroundings<'_>) -> Poll<io::Result<usize>> {
        let has_pending = self.has_pending();
        if !has_pending && around.source.lends_bytes() {
            let chunk = ready!(around.source.poll_read_bytes(cx, self.limit()))?;
            let n = chunk.len();
            if n > 0 {
                self.held.get_or_insert_with(|| around.pool.take_empty()).chunk = chunk;
            }
            return Poll::Ready(Ok(n));
        }
        if !has_pending && self.splicer.is_due(around, self.limit()) {
            self.release_buffer(around.pool);
            if let Some(spliced) = ready!(self.splicer.poll_in(cx, around, self.limit())) {
                return Poll::Ready(spliced);
            }
        }
        let capacity = self.held.as_ref().map_or(0, |held| held.buffer.capacity());
        if !has_pending && capacity < self.size.bytes() {
            self.release(around.pool);
        }
        let mut held = self.held.take().unwrap_or_else(|| around.pool.take(self.size));
        let room = self.room(&held);
        let fresh = held.buffer.is_empty();
        let mut target = (&mut held.buffer).limit(room);
        let read = pin!(around.source.read_buf(&mut target)).poll(cx);
        self.held = Some(held);
        let n = ready!(read)?;
        if fresh {
            self.adapt_size(n, room);
            self.splicer.note_copied(n, around.pool);
        }
        Poll::Ready(Ok(n))
    }

    /// A read that filled its buffer asks for a larger one, a read far below for a smaller one.
    fn adapt_size(&mut self, read: usize, room: usize) {
        if read == room {
            self.size = self.size.grown(self.limit());
        } else if read < self.size.bytes() / 16 {
            self.size = self.size.shrunk();
        }
    }

    fn note_read(&mut self, n: usize, around: &mut Surroundings<'_>) {
        if n == 0 {
            self.ended_with_bytes = self.has_read_now;
            self.note_end(around.accounting, around.active);
            return;
        }
        *around.active = true;
        self.has_read_now = true;
        match self.from {
            Side::Downstream => around.accounting.downstream_read(n as u64),
            Side::Upstream => around.accounting.upstream_read(n as u64),
        }
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        around: &mut Surroundings<'_>,
    ) -> Poll<Result<(), Failure>> {
        if self.unflushed {
            ready!(Pin::new(&mut *around.sink).poll_flush(cx))
                .map_err(|error| self.sink_failure(Operation::Write, error))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn pause(&mut self, accounting: &dyn Accounting) {
        if !self.paused {
            self.paused = true;
            accounting.paused_reading(self.from);
        }
    }

    fn resume(&mut self, accounting: &dyn Accounting) {
        if self.paused {
            self.paused = false;
            accounting.resumed_reading(self.from);
        }
    }

    fn source_failure(&self, error: io::Error) -> Failure {
        Failure { side: self.from, operation: Operation::Read, error }
    }

    fn sink_failure(&self, operation: Operation, error: io::Error) -> Failure {
        Failure { side: self.from.other(), operation, error }
    }
}

/// Handing over pins the whole buffer, so it must be filled well.
fn should_hand_over(held: &Held) -> bool {
    let Held { buffer, written, .. } = held;
    *written == 0 && buffer.len() >= HAND_OVER_FROM && buffer.len() >= buffer.capacity() / 2
}
