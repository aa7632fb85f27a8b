//! Both directions and the clock in one future.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::direction::{Direction, Failure};
use super::{Accounting, RelayEnd, RelayOptions, Side};
use crate::io::BoxIo;

pin_project! {
    /// A running relay; see [`relay`](super::relay). Dropping it stops it and leaves the streams to the caller.
    #[must_use = "futures do nothing unless polled"]
    pub struct Relay<'a> {
        downstream: &'a mut BoxIo,
        upstream: &'a mut BoxIo,
        accounting: &'a dyn Accounting,
        to_upstream: Direction,
        to_downstream: Direction,
        first_ended: Option<Side>,
        failure: Option<Failure>,
        idle_timeout: Option<std::time::Duration>,
        deadline: Option<Instant>,
        last_activity: Instant,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        downstream: &'a mut BoxIo,
        upstream: &'a mut BoxIo,
        options: RelayOptions,
        accounting: &'a dyn Accounting,
    ) -> Self {
        let now = Instant::now();
        let idle_deadline = options.idle_timeout.map(|timeout| now + timeout);
        let first = [idle_deadline, options.deadline].into_iter().flatten().min();
        Self {
            downstream,
            upstream,
            accounting,
            to_upstream: Direction::new(Side::Downstream, options.upstream_buffer_limit, options.early_data),
            to_downstream: Direction::new(
                Side::Upstream,
                options.downstream_buffer_limit,
                bytes::Bytes::new(),
            ),
            first_ended: None,
            failure: None,
            idle_timeout: options.idle_timeout,
            deadline: options.deadline,
            last_activity: now,
            timer: first.map(tokio::time::sleep_until),
        }
    }

    /// Whether the end of stream of `side` was read.
    pub fn has_ended(&self, side: Side) -> bool {
        match side {
            Side::Downstream => self.to_upstream.has_ended(),
            Side::Upstream => self.to_downstream.has_ended(),
        }
    }
}

impl Future for Relay<'_> {
    type Output = RelayEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let mut this = self.project();
        let mut active = false;
        let up =
            this.to_upstream.poll_pump(cx, this.downstream, this.upstream, *this.accounting, &mut active);
        if let Poll::Ready(Err(failure)) = up {
            return Poll::Ready(failure.into());
        }
        if this.first_ended.is_none() && this.to_upstream.has_ended() {
            *this.first_ended = Some(Side::Downstream);
        }
        let down =
            this.to_downstream.poll_pump(cx, this.upstream, this.downstream, *this.accounting, &mut active);
        if let Poll::Ready(Err(failure)) = down {
            return Poll::Ready(failure.into());
        }
        let first = *this.first_ended.get_or_insert_with(|| Side::Upstream);
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(RelayEnd::Finished { first });
        }
        if active {
            *this.last_activity = Instant::now();
        }
        while let Some(timer) = this.timer.as_mut().as_pin_mut() {
            if timer.poll(cx).is_pending() {
                break;
            }
            let now = Instant::now();
            if this.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(RelayEnd::DurationTimeout);
            }
            let idle = this.idle_timeout.map(|timeout| *this.last_activity + timeout);
            if idle.is_some_and(|idle| idle <= now) {
                return Poll::Ready(RelayEnd::IdleTimeout);
            }
            let next = [idle, *this.deadline].into_iter().flatten().min();
            match (this.timer.as_mut().as_pin_mut(), next) {
                (Some(timer), Some(next)) => timer.reset(next),
                _ => break,
            }
        }
        Poll::Pending
    }
}

impl From<Failure> for RelayEnd {
    fn from(failure: Failure) -> Self {
        Self::Failed { side: failure.side, operation: failure.operation, error: failure.error }
    }
}
