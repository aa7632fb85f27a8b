//! Hop fusion: the client's end of a pair reads and writes the upstream of the relay behind the pair by itself, and the
//! bytes no longer pass through queues and a second task.
//!
//! A relay whose downstream is the server's end of a pair leaves its upstream here ([`UserSpaceSocket::fuse`]) as soon as
//! nothing waits in its buffers or on the way to it, and parks. From then on an operation of the client's end goes straight to
//! that upstream, and whom the relay tells of its bytes hears of each of them at once. A chain of hops is fused pair by pair:
//! what the outer relay leaves is the client's end of the next pair.
//!
//! Fusion only ever carries bytes, and the half-close of the client's end, which the relay would pass on as it is. Whatever is more
//! than that takes the pair apart and happens as it would have without fusion: the client's end is reset or dropped; the upstream ends
//! or fails; the relay's time is up or it is dropped. So endings, flags and logs cannot differ.
//!
//! The client's end is woken when a relay parks, and reads from the upstream then. Until it has done so for the first time, the relay
//! takes the upstream back whenever it is woken: by the upstream itself, if it has waited for that before it parked. A relay whose
//! client's end has promised to read parks before it has looked for bytes at all.

use std::cell::RefMut;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::UserSpaceSocket;
use super::end::End;
use crate::io::{BoxIo, Io};
use crate::relay::{Accounting, Side};

/// How bytes get from one end to the other.
#[derive(Default)]
pub(super) enum Link {
    /// Through the queues.
    #[default]
    Queues,
    /// The client's end uses the upstream of the relay behind the pair.
    Fused(Box<Fused>),
    /// It does so no longer, and the relay has not taken its upstream back yet, nor what was met there.
    Parted(Box<Fused>, Met),
}

/// What a relay leaves with the client's end while it is parked.
pub(super) struct Fused {
    pub(super) io: BoxIo,
    accounting: Rc<dyn Accounting>,
    /// The smallest of those of the relays that are parked here and, where it `is_plain`, below.
    limits: BufferLimits,
    /// Whether the client's end has read from `io`, so that it is woken by it.
    adopted: bool,
    /// Whether `io` leads to a kernel socket through nothing but fused hops, so that it neither lends bytes nor takes them. To say so
    /// of a stream that could do more is no mistake, so it is not asked again for each operation.
    is_plain: bool,
    unflushed: bool,
    /// Whether the end of the client's stream was passed on to `io`.
    finished: bool,
    /// When bytes moved last since it was left here.
    last_activity: Option<Instant>,
    /// Whether the owner of the client's end says when something moved, so that no clock need be read for each operation.
    owner_notes_activity: bool,
}

/// How many bytes may wait in the buffers of a relay. Configurations say so in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BufferLimits {
    pub(crate) to_upstream: u32,
    pub(crate) to_downstream: u32,
}

impl BufferLimits {
    pub(crate) fn new(to_upstream: usize, to_downstream: usize) -> Self {
        let limit = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { to_upstream: limit(to_upstream), to_downstream: limit(to_downstream) }
    }

    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            to_upstream: self.to_upstream.min(other.to_upstream),
            to_downstream: self.to_downstream.min(other.to_downstream),
        }
    }
}

/// What a relay gets back.
pub(crate) struct Parted {
    /// Its upstream.
    pub(crate) io: BoxIo,
    /// What was met with at it, which it may not tell again.
    pub(crate) met: Met,
    /// Whether something was written since the last flush.
    pub(crate) unflushed: bool,
    /// Whether the end of the downstream's stream was passed on to it.
    pub(crate) finished: bool,
}

/// What the client's end met with at the upstream.
#[derive(Debug)]
pub(crate) enum Met {
    /// Nothing: it was not the upstream that took the pair apart.
    Nothing,
    /// The end of its stream.
    End,
    /// A read failed.
    ReadFailure(io::Error),
    /// A write or a flush failed.
    WriteFailure(io::Error),
}

impl Fused {
    fn look_below(&mut self) {
        let Some(next) = self.io.user_space_socket() else {
            self.is_plain = self.io.kernel_socket().is_some();
            return;
        };
        if let Link::Fused(next) = &*next.shared.link.borrow() {
            self.is_plain = next.is_plain;
            self.limits = self.limits.min(next.limits);
        }
    }

    fn part(self, met: Met) -> Parted {
        Parted { io: self.io, met, unflushed: self.unflushed, finished: self.finished }
    }

    fn moved(&mut self) {
        if !self.owner_notes_activity {
            self.last_activity = Some(Instant::now());
        }
    }
}

/// What the relay behind the pair does, with the server's end.
impl UserSpaceSocket {
    /// Whether a relay may leave its upstream with the client's end: neither end has finished or is gone, and everything that
    /// the client's end has written has been read.
    pub(crate) fn can_fuse(&self) -> bool {
        self.end == End::Server
            && matches!(*self.shared.link.borrow(), Link::Queues)
            && self.reads().borrow().is_quiet()
            && self.writes().borrow().is_open()
    }

    /// Lets the client's end use `upstream`, whose owner parks: it wakes the client's end, awaits
    /// [`poll_parted`](Self::poll_parted) and does nothing else. Each byte is told to `accounting`.
    pub(crate) fn fuse(&self, upstream: BoxIo, accounting: Rc<dyn Accounting>, limits: BufferLimits) {
        let mut fused = Fused {
            io: upstream,
            accounting,
            limits,
            adopted: false,
            is_plain: false,
            unflushed: false,
            finished: false,
            last_activity: None,
            owner_notes_activity: false,
        };
        fused.look_below();
        *self.shared.link.borrow_mut() = Link::Fused(Box::new(fused));
    }

    /// Wakes whoever waits at the other end, since its bytes go another way from now on.
    pub(crate) fn wake_other_end(&self) {
        self.writes().borrow_mut().wake_reader();
        self.wake_other_writer();
    }

    /// Wakes whoever waits to write at the other end.
    pub(crate) fn wake_other_writer(&self) {
        self.reads().borrow_mut().wake_writer();
    }

    /// Has the relay woken when the pair comes apart, whether or not the client's end has read from the upstream yet.
    pub(crate) fn wait_for_parting(&self, cx: &mut Context<'_>) {
        self.reads().borrow_mut().remember_reader(cx);
    }

    /// Waits until the upstream is to be taken back, and takes it: the pair has come apart, or the upstream woke the relay
    /// before the client's end ever read from it.
    pub(crate) fn poll_parted(&self, cx: &mut Context<'_>) -> Poll<Parted> {
        let carries = matches!(&*self.shared.link.borrow(), Link::Fused(fused) if fused.adopted);
        if carries {
            self.wait_for_parting(cx);
            return Poll::Pending;
        }
        // Whoever is parked has left something.
        self.part_now().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the upstream back at once, if it was left with the client's end. Whoever waits there is not woken.
    pub(crate) fn part_now(&self) -> Option<Parted> {
        match self.shared.link.take() {
            Link::Queues => None,
            Link::Parted(fused, met) => Some(fused.part(met)),
            Link::Fused(fused) => Some(fused.part(Met::Nothing)),
        }
    }

    /// When bytes moved last between the client's end and what was left with it.
    pub(crate) fn fused_activity(&self) -> Option<Instant> {
        match &*self.shared.link.borrow() {
            Link::Fused(fused) | Link::Parted(fused, _) => fused.last_activity,
            Link::Queues => None,
        }
    }
}

/// What the owner of the client's end may know.
impl UserSpaceSocket {
    /// The smallest buffer limits of the relays whose work the owner of this end does, if it does any.
    pub(crate) fn fused_limits(&self) -> Option<BufferLimits> {
        match &mut *self.shared.link.borrow_mut() {
            Link::Fused(fused) if self.end == End::Client && fused.is_plain => Some(fused.limits),
            Link::Fused(fused) if self.end == End::Client => {
                let next = fused.io.user_space_socket().and_then(|next| next.fused_limits());
                Some(next.map_or(fused.limits, |next| fused.limits.min(next)))
            }
            _ => None,
        }
    }

    /// Says that bytes moved at that moment, to all whose idle timeout it concerns. Whoever calls this once says so each time.
    pub(crate) fn note_activity(&self, at: Instant) {
        if let Link::Fused(fused) = &mut *self.shared.link.borrow_mut()
            && self.end == End::Client
        {
            fused.owner_notes_activity = true;
            fused.last_activity = Some(at);
            if let Some(next) = fused.io.user_space_socket() {
                next.note_activity(at);
            }
            if !fused.is_plain {
                // The hops behind it may have been fused since.
                fused.look_below();
            }
        }
    }
}

/// The operations of the client's end. Each returns `None` if it has to go through the queues.
impl UserSpaceSocket {
    /// Reads from the upstream; the queue comes first. `read` returns the number of bytes.
    pub(super) fn poll_read_fused(
        &self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut BoxIo, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Option<Poll<io::Result<usize>>> {
        let mut link = self.fused_and_drained()?;
        let Link::Fused(fused) = &mut *link else { return None };
        fused.adopted = true;
        let met = match read(&mut fused.io, cx) {
            Poll::Pending => {
                let ends =
                    fused.finished && fused.io.user_space_socket().is_some_and(|next| next.is_ending());
                drop(link);
                // For the moment in which the pair comes apart.
                self.reads().borrow_mut().remember_reader(cx);
                if ends {
                    self.part(Met::End);
                }
                return Some(Poll::Pending);
            }
            Poll::Ready(Ok(0)) => Met::End,
            Poll::Ready(Ok(n)) => {
                fused.moved();
                fused.accounting.passed_downstream(n as u64);
                return Some(Poll::Ready(Ok(n)));
            }
            // No failure of the upstream, but a wrong question.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Some(Poll::Ready(Err(error)));
            }
            Poll::Ready(Err(error)) => Met::ReadFailure(error),
        };
        drop(link);
        self.part(met);
        None
    }

    /// Looks ahead at the upstream. An end or a failure is left for the relay to read.
    pub(super) fn poll_peek_fused(
        &self,
        cx: &mut Context<'_>,
        peek: impl FnOnce(&mut BoxIo, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Option<Poll<io::Result<usize>>> {
        let mut link = self.fused_and_drained()?;
        let Link::Fused(fused) = &mut *link else { return None };
        fused.adopted = true;
        match peek(&mut fused.io, cx) {
            Poll::Pending => {
                drop(link);
                self.reads().borrow_mut().remember_reader(cx);
                Some(Poll::Pending)
            }
            Poll::Ready(Ok(n)) if n > 0 => Some(Poll::Ready(Ok(n))),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Some(Poll::Ready(Err(error)))
            }
            Poll::Ready(_) => {
                drop(link);
                self.part(Met::Nothing);
                None
            }
        }
    }

    /// Writes to the upstream. `write` returns the number of bytes.
    pub(super) fn poll_write_fused(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut BoxIo, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Option<Poll<io::Result<usize>>> {
        let mut link = self.fused()?;
        let Link::Fused(fused) = &mut *link else { return None };
        if fused.finished {
            return None;
        }
        let error = match write(&mut fused.io, cx) {
            Poll::Pending => {
                drop(link);
                self.writes().borrow_mut().remember_writer(cx);
                return Some(Poll::Pending);
            }
            Poll::Ready(Ok(0)) => io::ErrorKind::WriteZero.into(),
            Poll::Ready(Ok(n)) => {
                fused.moved();
                fused.unflushed = true;
                fused.accounting.passed_upstream(n as u64);
                return Some(Poll::Ready(Ok(n)));
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Some(Poll::Ready(Err(error)));
            }
            Poll::Ready(Err(error)) => error,
        };
        drop(link);
        self.part(Met::WriteFailure(error));
        None
    }

    /// Flushes the upstream. A failure is the relay's to report.
    pub(super) fn poll_flush_fused(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut link) = self.fused() else { return Poll::Ready(()) };
        let Link::Fused(fused) = &mut *link else { return Poll::Ready(()) };
        match Pin::new(&mut fused.io).poll_flush(cx) {
            Poll::Pending => {
                drop(link);
                self.writes().borrow_mut().remember_writer(cx);
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => fused.unflushed = false,
            Poll::Ready(Err(error)) => {
                drop(link);
                self.part(Met::WriteFailure(error));
            }
        }
        Poll::Ready(())
    }

    /// Passes the end of the client's stream on to the upstream, of which the relay need not know before it takes that back. Returns
    /// whether it could: if not, it is for the relay to do.
    pub(super) fn finish_fused(&self, cx: &mut Context<'_>) -> bool {
        let Some(mut link) = self.fused() else { return false };
        let Link::Fused(fused) = &mut *link else { return false };
        if fused.finished {
            return true;
        }
        // A relay that was never read for still waits for the upstream itself.
        if !fused.adopted || !matches!(Pin::new(&mut fused.io).poll_shutdown(cx), Poll::Ready(Ok(()))) {
            return false;
        }
        fused.finished = true;
        fused.moved();
        fused.accounting.ended(Side::Downstream);
        true
    }

    /// Whether the upstream of the relay behind the pair has ended, and the client's end before: all that is left to do for that relay
    /// is to pass the end on.
    fn is_ending(&self) -> bool {
        matches!(&*self.shared.link.borrow(), Link::Parted(fused, Met::End) if fused.finished)
    }

    /// Whether the upstream lends or takes bytes, if it is what operations go to.
    pub(super) fn ask_for_bytes(&self, ask: impl FnOnce(&BoxIo) -> bool) -> Option<bool> {
        match &*self.shared.link.borrow() {
            Link::Fused(fused) if self.end == End::Client => Some(!fused.is_plain && ask(&fused.io)),
            _ => None,
        }
    }

    /// Asks the upstream about an ability, if it is what operations go to.
    pub(super) fn ask_fused(&self, ask: impl FnOnce(&BoxIo) -> bool) -> Option<bool> {
        match &*self.shared.link.borrow() {
            Link::Fused(fused) if self.end == End::Client => Some(ask(&fused.io)),
            _ => None,
        }
    }

    /// Takes the pair apart; the relay has its upstream back, and what was `met` there, when it runs next.
    pub(super) fn part(&self, met: Met) {
        let mut link = self.shared.link.borrow_mut();
        match std::mem::take(&mut *link) {
            Link::Fused(fused) => *link = Link::Parted(fused, met),
            other => {
                *link = other;
                return;
            }
        }
        drop(link);
        self.shared.written_by(End::Client).borrow_mut().wake_reader();
    }

    fn fused(&self) -> Option<RefMut<'_, Link>> {
        let link = self.shared.link.borrow_mut();
        (matches!(*link, Link::Fused(_)) && self.end == End::Client).then_some(link)
    }

    fn fused_and_drained(&self) -> Option<RefMut<'_, Link>> {
        self.fused().filter(|_| self.unread() == 0)
    }
}
