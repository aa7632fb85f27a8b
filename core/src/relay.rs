//! Pumps bytes between a downstream and an upstream connection until both have ended: the engine of every terminal
//! filter.
//!
//! A filter calls [`relay`] with its two streams and awaits a [`RelayEnd`], which says how it ended and who failed. The
//! relay closes nothing but write sides: what an ending means for the connections, flags and logs is the caller's
//! business. To stop a relay from outside, drop it. It only borrows the streams, and what it has counted was counted as
//! it happened.
//!
//! # When it ends
//!
//! As Envoy 1.40 was seen to do (chains of one and two `tcp_proxy` over TCP, loopback):
//!
//! - The end of stream of one side is passed on as a half-close when all bytes before it are written. The relay ends
//!   when both sides have ended.
//! - The idle timeout stays in force while one side is half-closed, whichever it is, and while bytes wait for a side
//!   that does not take them.
//! - A reset ends it at once, also when the other side had ended before. What was read and not yet written is lost.
//! - When a write to the upstream fails, what it has sent is still delivered: one that answers early and closes with
//!   unread data gets its answer through. (Envoy drops it.)
//! - A side that is not read, because the other one does not take bytes, is not looked at either: its reset goes
//!   unnoticed until the other one takes some, or until the idle timeout. A downstream that can tell without being read is
//!   an exception ([`Io::poll_aborted`](crate::io::Io::poll_aborted)): a stream of HTTP/2, a user-space socket; and a kernel
//!   socket, if that is asked for ([`RelayOptions::watch_aborts`]).
//! - A TCP peer that resets after its FIN, with nothing to be written to it, goes unnoticed until the idle timeout. A
//!   user-space peer that is closed after its half-close is noticed at once and is a failure (Envoy: `UR`).
//!
//! # Memory
//!
//! A direction holds a buffer only while bytes are in it, from 4 to 256 KiB following the traffic and within the limit
//! of the side that it writes to. Reading stops while the buffer at hand is full; the kernel or the user-space socket
//! then holds the sender back.
//!
//! Bulk between two kernel sockets is not copied at all: when large pieces keep coming, they pass through a pipe
//! (`splice(2)`), which is lent like a buffer and within the same limit; when they get small, copying goes on
//! ([`SpliceOptions`]). Bytes in a pipe are bytes that wait: they go before an end, and are lost with a side that fails.
//! What comes behind them is not read until they are gone.

mod accounting;
mod direction;
mod future;
mod limits;
mod options;
mod parking;
mod pipe_pool;
mod pool;
mod splice;

pub use accounting::{Accounting, RelayCounts};
pub use future::{OwnedRelay, Relay};
pub use options::RelayOptions;
pub use pool::BufferPool;
pub use splice::SpliceOptions;

use std::io;
use std::rc::Rc;

use crate::io::BoxIo;

/// One of the two sides of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that connected to us.
    Downstream,
    /// The side that we connected to.
    Upstream,
}

impl Side {
    /// The one across.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
    }
}

/// What was being done when a side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A read: the peer reset the connection, or the kernel gave up on it.
    Read,
    /// A write or flush: the peer takes no more bytes.
    Write,
    /// The half-close that passes on the other side's end.
    Shutdown,
}

/// How a relay ended.
#[derive(Debug)]
#[must_use = "it decides flags and whether the other side is reset"]
pub enum RelayEnd {
    /// Both directions ended in order, and everything that was read has been written.
    Finished {
        /// Whose end of stream came first.
        first: Side,
    },
    /// A side failed.
    Failed {
        /// Who failed.
        side: Side,
        /// At what. A peer of a user-space socket that is gone counts as a reset that was read.
        operation: Operation,
        /// How; `ConnectionReset` and `BrokenPipe` are the usual ways.
        error: io::Error,
        /// Whether the end of stream of that side had been read before. Envoy does not flag a TCP upstream that fails a
        /// write after its FIN, for example.
        after_end: bool,
    },
    /// No byte moved on either side for the idle timeout.
    IdleTimeout,
    /// The relay ran until its deadline.
    DurationTimeout,
}

/// Pumps bytes both ways between `downstream` and `upstream`, telling `accounting` what happens.
pub fn relay<'a>(
    downstream: &'a mut BoxIo,
    upstream: &'a mut BoxIo,
    options: RelayOptions,
    accounting: Rc<dyn Accounting>,
) -> Relay<'a> {
    Relay::new(downstream, upstream, options, accounting)
}

#[cfg(test)]
mod tests;
