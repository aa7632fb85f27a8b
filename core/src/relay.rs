//! Pumps bytes between a downstream and an upstream connection until both have ended: the engine of every terminal
//! filter.
//!
//! A filter calls [`relay`] with its two streams and awaits a [`RelayEnd`], which says how it ended and who failed. The
//! relay itself closes nothing but write sides (a half-close that arrives on one side is passed on to the other); what an
//! ending means for the connections, flags and logs is the caller's business. To stop a relay from outside, drop it: it
//! borrows the streams, and what it has counted was counted as it happened.

mod accounting;
mod direction;
mod future;
mod options;

pub use accounting::{Accounting, RelayCounts};
pub use future::Relay;
pub use options::RelayOptions;

use std::io;

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
    /// A read: the peer reset, or the kernel gave up on it.
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
    /// Both directions ended in order, everything that was read has been written.
    Finished {
        /// Whose end of stream came first.
        first: Side,
    },
    /// A side failed. What it had sent before has been written to the other side.
    Failed {
        /// Who failed.
        side: Side,
        /// At what.
        operation: Operation,
        /// How, `ConnectionReset` and `BrokenPipe` being the usual ways.
        error: io::Error,
    },
    /// No byte moved on either side for the idle timeout.
    IdleTimeout,
    /// The relay ran for as long as it may.
    DurationTimeout,
}

/// Pumps bytes both ways between `downstream` and `upstream`, telling `accounting` what happens.
pub fn relay<'a>(
    downstream: &'a mut BoxIo,
    upstream: &'a mut BoxIo,
    options: RelayOptions,
    accounting: &'a dyn Accounting,
) -> Relay<'a> {
    Relay::new(downstream, upstream, options, accounting)
}
