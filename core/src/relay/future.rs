//! Both directions and the clock in one future.

use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::direction::{Direction, Failure, Surroundings};
use super::limits::Limits;
use super::{Accounting, BufferPool, Operation, RelayEnd, RelayOptions, Side};
use crate::io::{AbortWatch, BoxIo, Io};
use crate::timers::Alarm;
use crate::user_space_socket::BufferLimits;

/// A running relay; see [`relay`](super::relay). Dropping it stops it and leaves the streams to the caller.
#[must_use = "futures do nothing unless polled"]
pub struct Relay<'a> {
    downstream: &'a mut BoxIo,
    upstream: &'a mut BoxIo,
    engine: Engine,
}

/// A running relay that has its streams to itself, for who keeps many of them. Dropping it closes them.
#[must_use = "futures do nothing unless polled"]
pub struct OwnedRelay {
    downstream: BoxIo,
    upstream: BoxIo,
    engine: Engine,
}

/// A relay without its streams.
struct Engine {
    pump: State,
    limits: Limits,
    timer: Option<Alarm>,
}

/// What moves the bytes, while it does.
pub(super) struct Pump<'a> {
    pub(super) downstream: &'a mut BoxIo,
    /// Nothing while it is parked.
    pub(super) upstream: &'a mut BoxIo,
    pub(super) state: &'a mut State,
}

/// What is to be known from one poll to the next. Every connection and every hop of it has one: rare things are boxed, and what
/// exists only while bytes wait is lent by the pool.
pub(super) struct State {
    pub(super) accounting: Rc<dyn Accounting>,
    pool: BufferPool,
    pub(super) to_upstream: Direction,
    pub(super) to_downstream: Direction,
    pub(super) limits: BufferLimits,
    /// Whether the downstream is an internal hop that may do the work of this relay.
    pub(super) may_park: bool,
    /// Whether it was never polled.
    is_new: bool,
    pub(super) is_parked: bool,
    /// Whether the upstream is an internal hop.
    pub(super) is_before_a_hop: bool,
    first_ended: Option<Side>,
    flushing_upstream: bool,
    watch_aborts: bool,
    rare: Option<Box<Rare>>,
}

/// What few relays come to need.
#[derive(Default)]
struct Rare {
    abort_watch: AbortWatch,
    last_words: Option<LastWords>,
}

/// An upstream that failed a write, while what it has sent is still on its way.
struct LastWords {
    failure: Failure,
    after_end: bool,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        downstream: &'a mut BoxIo,
        upstream: &'a mut BoxIo,
        options: RelayOptions,
        accounting: Rc<dyn Accounting>,
    ) -> Self {
        let engine = Engine::new(downstream, upstream, options, accounting, None);
        Self { downstream, upstream, engine }
    }

    /// Whether the end of stream of `side` was read.
    pub fn has_ended(&self, side: Side) -> bool {
        self.engine.pump.from(side).has_ended()
    }

    /// Whether all that `side` sent was written to the other side, its end included.
    pub fn has_delivered(&self, side: Side) -> bool {
        self.engine.pump.from(side).is_done()
    }
}

impl OwnedRelay {
    /// Starts a relay as [`relay`](super::relay) does. It uses an alarm that waits already rather than setting another one, if that
    /// does not go off too late.
    pub fn new(
        mut downstream: BoxIo,
        mut upstream: BoxIo,
        options: RelayOptions,
        accounting: Rc<dyn Accounting>,
        alarm: Option<Alarm>,
    ) -> Self {
        let engine = Engine::new(&mut downstream, &mut upstream, options, accounting, alarm);
        Self { downstream, upstream, engine }
    }

    /// Stops it, if it has not ended, and gives the two streams back, downstream first.
    pub fn into_streams(mut self) -> (BoxIo, BoxIo) {
        self.engine.stop(&mut self.downstream, &mut self.upstream);
        let take = |io: &mut BoxIo| std::mem::replace(io, Box::new(tokio::io::empty()));
        (take(&mut self.downstream), take(&mut self.upstream))
    }
}

impl Future for Relay<'_> {
    type Output = RelayEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let Self { downstream, upstream, engine } = &mut *self;
        engine.poll(downstream, upstream, cx)
    }
}

impl Future for OwnedRelay {
    type Output = RelayEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let Self { downstream, upstream, engine } = &mut *self;
        engine.poll(downstream, upstream, cx)
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        self.engine.stop(self.downstream, self.upstream);
    }
}

impl Drop for OwnedRelay {
    fn drop(&mut self) {
        self.engine.stop(&mut self.downstream, &mut self.upstream);
    }
}

impl Engine {
    fn new(
        downstream: &mut BoxIo,
        upstream: &mut BoxIo,
        options: RelayOptions,
        accounting: Rc<dyn Accounting>,
        alarm: Option<Alarm>,
    ) -> Self {
        let limits = Limits::new(options.idle_timeout, options.deadline);
        let buffers = BufferLimits::new(options.upstream_buffer_limit, options.downstream_buffer_limit);
        let hop = downstream.user_space_socket();
        if let Some(socket) = &hop {
            socket.note_established();
        }
        let pump = State {
            may_park: options.fuse_hops && hop.is_some(),
            is_new: true,
            is_parked: false,
            is_before_a_hop: upstream.user_space_socket().is_some(),
            accounting,
            pool: options.pool,
            to_upstream: Direction::new(Side::Downstream, buffers.to_upstream, options.early_data),
            to_downstream: Direction::new(Side::Upstream, buffers.to_downstream, Bytes::new()),
            limits: buffers,
            first_ended: None,
            flushing_upstream: false,
            watch_aborts: options.watch_aborts,
            rare: None,
        };
        let timer = limits.next().map(|next| {
            let in_time = alarm.filter(|alarm| alarm.moment() <= next);
            in_time.unwrap_or_else(|| options.timers.at(next))
        });
        Self { pump, limits, timer }
    }

    fn poll(&mut self, downstream: &mut BoxIo, upstream: &mut BoxIo, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let mut active = false;
        let mut pump = Pump { downstream, upstream, state: &mut self.pump };
        if let Some(at) = pump.parked_activity() {
            self.limits.note_activity(self.limits.last_activity().max(at));
        }
        let pumped = pump.poll(cx, &mut active);
        if active {
            let now = Instant::now();
            self.limits.note_activity(now);
            pump.note_activity_of_hops(now);
        }
        match pumped {
            Poll::Ready(end @ RelayEnd::Failed { .. }) => return Poll::Ready(self.limits.overtake(end)),
            Poll::Ready(end) => return Poll::Ready(end),
            Poll::Pending => {}
        }
        // The timer is not moved with every byte: when it fires, it is set again for what is left.
        while let Some(timer) = &mut self.timer {
            if Pin::new(&mut *timer).poll(cx).is_pending() {
                break;
            }
            match self.limits.check(Instant::now()) {
                Ok(Some(next)) => timer.reset(next),
                Ok(None) => break,
                Err(end) => {
                    pump.take_back();
                    return Poll::Ready(end);
                }
            }
        }
        Poll::Pending
    }

    /// Leaves the streams as they are when nobody relays between them. Doing it again changes nothing.
    fn stop(&mut self, downstream: &mut BoxIo, upstream: &mut BoxIo) {
        Pump { downstream, upstream, state: &mut self.pump }.take_back();
        let pump = &mut self.pump;
        if std::mem::take(&mut pump.flushing_upstream) {
            pump.accounting.upstream_flush_finished();
        }
        pump.to_upstream.release(&pump.pool);
        pump.to_downstream.release(&pump.pool);
    }
}

impl Pump<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, active: &mut bool) -> Poll<RelayEnd> {
        if std::mem::take(&mut self.state.is_new) && self.poll_parked_at_once(cx) {
            return Poll::Pending;
        }
        if self.state.is_parked {
            return self.poll_parked(cx, active);
        }
        let pumped = self.poll_pumping(cx, active);
        if pumped.is_pending() {
            self.park_if_quiet();
            if self.state.is_parked {
                self.wake_client();
            }
        }
        pumped
    }

    pub(super) fn poll_pumping(&mut self, cx: &mut Context<'_>, active: &mut bool) -> Poll<RelayEnd> {
        if let Some(end) = self.state.rare.as_mut().and_then(|rare| rare.last_words.take()) {
            return self.poll_last_words(end, cx, active);
        }
        if self.state.is_before_a_hop {
            self.keep_to_limits_of_hops();
        }
        for side in [Side::Downstream, Side::Upstream] {
            if let Poll::Ready(Err(failure)) = self.poll_direction(side, cx, active) {
                return self.poll_failed(failure, cx, active);
            }
            if self.state.first_ended.is_none() && self.state.from(side).has_ended() {
                self.state.first_ended = Some(side);
            }
        }
        if let (Some(first), true) = (self.state.first_ended, self.state.is_done()) {
            self.note_flush();
            return Poll::Ready(RelayEnd::Finished { first });
        }
        // What it sent before is not worth a host's connection: whoever is blocked by it could stay so for long.
        if self.state.to_upstream.is_paused() && self.poll_aborted(cx).is_ready() {
            return Poll::Ready(reset_by(Side::Downstream).into_end(false));
        }
        for side in [Side::Downstream, Side::Upstream] {
            if self.is_gone(side, cx) {
                return Poll::Ready(reset_by(side).into_end(true));
            }
        }
        self.note_flush();
        Poll::Pending
    }

    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.watch_aborts {
            return self.state.rare.get_or_insert_default().abort_watch.poll(self.downstream, cx);
        }
        self.downstream.poll_aborted(cx)
    }

    /// Ends the relay, unless it is an upstream that takes no more bytes but may have sent some.
    pub(super) fn poll_failed(
        &mut self,
        failure: Failure,
        cx: &mut Context<'_>,
        active: &mut bool,
    ) -> Poll<RelayEnd> {
        let after_end = self.state.from(failure.side).has_ended();
        if failure.side == Side::Downstream || failure.operation == Operation::Read {
            return Poll::Ready(failure.into_end(after_end));
        }
        if self.is_gone(Side::Upstream, cx) {
            return Poll::Ready(reset_by(Side::Upstream).into_end(true));
        }
        self.poll_last_words(LastWords { failure, after_end }, cx, active)
    }

    /// Delivers what a failed upstream has sent. The connection is dead, so reading it ends soon, and may tell more
    /// than the failed write did.
    fn poll_last_words(
        &mut self,
        LastWords { failure, after_end }: LastWords,
        cx: &mut Context<'_>,
        active: &mut bool,
    ) -> Poll<RelayEnd> {
        let failure = match self.poll_direction(Side::Upstream, cx, active) {
            Poll::Pending => {
                self.state.rare.get_or_insert_default().last_words = Some(LastWords { failure, after_end });
                return Poll::Pending;
            }
            Poll::Ready(Err(better)) if better.side == Side::Upstream && !failure.says_all() => better,
            Poll::Ready(_) => failure,
        };
        Poll::Ready(failure.into_end(after_end))
    }

    fn poll_direction(
        &mut self,
        from: Side,
        cx: &mut Context<'_>,
        active: &mut bool,
    ) -> Poll<Result<(), Failure>> {
        let (direction, source, sink) = match from {
            Side::Downstream => (&mut self.state.to_upstream, &mut *self.downstream, &mut *self.upstream),
            Side::Upstream => (&mut self.state.to_downstream, &mut *self.upstream, &mut *self.downstream),
        };
        let accounting = &*self.state.accounting;
        direction
            .poll_pump(cx, &mut Surroundings { source, sink, accounting, pool: &self.state.pool, active })
    }

    /// Whether a side that has ended has meanwhile left, so that what is still to come for it is in vain.
    fn is_gone(&mut self, side: Side, cx: &mut Context<'_>) -> bool {
        let in_vain = self.state.from(side).has_ended() && !self.state.from(side.other()).is_done();
        let io = match side {
            Side::Downstream => &mut *self.downstream,
            Side::Upstream => &mut *self.upstream,
        };
        in_vain && io.poll_peer_gone(cx).is_ready()
    }

    /// Tells when downstream is closed both ways while bytes still wait for upstream, and when that is over.
    fn note_flush(&mut self) {
        let closed = self.state.to_upstream.has_ended() && self.state.to_downstream.is_done();
        let flushing = closed && self.state.to_upstream.has_pending();
        // Envoy writes in a later turn, so it finds bytes that came with the end of stream still there.
        let has_flushed = closed
            && self.state.first_ended == Some(Side::Upstream)
            && self.state.to_upstream.is_done()
            && self.state.to_upstream.ended_with_bytes();
        if has_flushed && !flushing && !self.state.flushing_upstream {
            self.state.accounting.upstream_flush_started();
            self.state.accounting.upstream_flush_finished();
        }
        if flushing && !self.state.flushing_upstream {
            self.state.accounting.upstream_flush_started();
        } else if !flushing && self.state.flushing_upstream {
            self.state.accounting.upstream_flush_finished();
        }
        self.state.flushing_upstream = flushing;
    }
}

impl State {
    fn from(&self, side: Side) -> &Direction {
        match side {
            Side::Downstream => &self.to_upstream,
            Side::Upstream => &self.to_downstream,
        }
    }

    fn is_done(&self) -> bool {
        self.to_upstream.is_done() && self.to_downstream.is_done()
    }
}

fn reset_by(side: Side) -> Failure {
    Failure { side, operation: Operation::Read, error: ErrorKind::ConnectionReset.into() }
}

impl Failure {
    /// Whether reading would tell nothing more: a user-space socket whose peer is gone reports that to whoever asks
    /// first, and Envoy takes a write that fails like this for the end of it.
    fn says_all(&self) -> bool {
        self.error.kind() == ErrorKind::BrokenPipe
    }

    fn into_end(self, after_end: bool) -> RelayEnd {
        RelayEnd::Failed { side: self.side, operation: self.operation, error: self.error, after_end }
    }
}
