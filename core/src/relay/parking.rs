//! A relay whose work is done by the hop before it: it has left its upstream with the client's end of the user-space socket that
//! is its downstream, and waits (see the module `user_space_socket::fusion`).

use std::mem::replace;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::direction::Failure;
use super::future::Pump;
use super::{Operation, RelayEnd, Side};
use crate::user_space_socket::{BufferLimits, Met, Parted};

impl Pump<'_> {
    /// Parks if nothing is left to do but to carry bytes that are still to come.
    pub(super) fn park_if_quiet(&mut self) {
        if !self.state.may_park || !self.state.to_upstream.is_quiet() || !self.state.to_downstream.is_quiet()
        {
            return;
        }
        let Some(socket) = self.downstream.user_space_socket() else { return };
        if socket.can_fuse() {
            let upstream = replace(self.upstream, Box::new(tokio::io::empty()));
            socket.fuse(upstream, Rc::clone(&self.state.accounting), self.state.limits);
            self.state.is_parked = true;
        }
    }

    /// Parks before it has looked for bytes, if nobody has sent any and the hop before it looks for them. Whether it could.
    pub(super) fn poll_parked_at_once(&mut self, cx: &mut Context<'_>) -> bool {
        if self.downstream.user_space_socket().is_some_and(|socket| socket.client_reads()) {
            self.park_if_quiet();
        }
        if !self.state.is_parked {
            return false;
        }
        if let Some(socket) = self.downstream.user_space_socket() {
            socket.wait_for_parting(cx);
        }
        self.wake_client();
        true
    }

    /// Waits until there is something to do again, and does it.
    pub(super) fn poll_parked(&mut self, cx: &mut Context<'_>, active: &mut bool) -> Poll<RelayEnd> {
        let Some(socket) = self.downstream.user_space_socket() else { return Poll::Pending };
        let parted = ready!(socket.poll_parted(cx));
        let failed = |operation, error| Failure { side: Side::Upstream, operation, error };
        let pumped = match self.unpark(parted) {
            Met::Nothing => self.poll_pumping(cx, active),
            Met::End => {
                self.state.to_downstream.note_end(&*self.state.accounting, active);
                self.poll_pumping(cx, active)
            }
            Met::ReadFailure(error) => self.poll_failed(failed(Operation::Read, error), cx, active),
            Met::WriteFailure(error) => self.poll_failed(failed(Operation::Write, error), cx, active),
        };
        if pumped.is_pending() {
            self.park_if_quiet();
        }
        // The client's end may wait for an upstream that it no longer has, or for a queue that it does not use any more. If
        // nothing has changed (it was woken for something else) it shall not hear of it, or the two would wake each other for ever.
        if !self.state.is_parked {
            self.wake_client_to_write();
        } else if *active {
            self.wake_client();
        }
        pumped
    }

    /// Has the client's end look at where its bytes go now.
    pub(super) fn wake_client(&mut self) {
        if let Some(socket) = self.downstream.user_space_socket() {
            socket.wake_other_end();
        }
    }

    /// Has a client's end that waits to write look again, since there is a queue now. One that waits to read is known to the queue
    /// already.
    fn wake_client_to_write(&mut self) {
        if let Some(socket) = self.downstream.user_space_socket() {
            socket.wake_other_writer();
        }
    }

    /// Takes the upstream back, whatever goes on, so that whoever owns it finds it in its place.
    pub(super) fn take_back(&mut self) {
        if self.state.is_parked
            && let Some(parted) = self.downstream.user_space_socket().and_then(|socket| socket.part_now())
        {
            self.unpark(parted);
            self.wake_client_to_write();
        }
    }

    fn unpark(&mut self, parted: Parted) -> Met {
        self.state.is_parked = false;
        *self.upstream = parted.io;
        if parted.finished {
            self.state.to_upstream.note_passed_on();
        } else if parted.unflushed {
            self.state.to_upstream.note_unflushed();
        }
        parted.met
    }

    /// When bytes moved that the hop before this one carried.
    pub(super) fn parked_activity(&mut self) -> Option<Instant> {
        if !self.state.is_parked {
            return None;
        }
        self.downstream.user_space_socket().and_then(|socket| socket.fused_activity())
    }

    /// Keeps to the limits of the hops behind this one, whose work this relay does.
    pub(super) fn keep_to_limits_of_hops(&mut self) {
        let Some(socket) = self.upstream.user_space_socket() else { return };
        let limits = socket.fused_limits().map_or(self.state.limits, |fused| fused.min(self.state.limits));
        let BufferLimits { to_upstream, to_downstream } = limits;
        self.state.to_upstream.set_limit(to_upstream);
        self.state.to_downstream.set_limit(to_downstream);
    }

    /// Tells the hops behind this one, whose work this relay does, that bytes moved.
    pub(super) fn note_activity_of_hops(&mut self, at: Instant) {
        if self.state.is_before_a_hop
            && let Some(socket) = self.upstream.user_space_socket()
        {
            socket.note_activity(at);
        }
    }
}
