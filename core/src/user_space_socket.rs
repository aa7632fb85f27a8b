//! A connection inside the process: two ends joined by two bounded queues, as a TCP connection over loopback would be,
//! without the kernel.
//!
//! The client connection factory of internal addresses makes a [`pair`], keeps the client end and hands the server end
//! to an internal listener of the same worker. Bytes, half-closes and resets cross as they would between two sockets,
//! and so does what the client side wants the listener to know: addresses and the [passthrough
//! state](UserSpaceSocket::set_passthrough).
//!
//! # How an end is closed, and what the other end sees
//!
//! | this end | the other end reads, after the queued bytes | the other end writes |
//! |---|---|---|
//! | `shutdown` | end of stream | on as before |
//! | dropped | end of stream if it has shut down its own writes, else `ConnectionReset` | `BrokenPipe` |
//! | `shutdown`, then dropped | end of stream, and [`poll_peer_gone`](crate::io::Io::poll_peer_gone) is ready | `BrokenPipe` |
//! | [`reset`](crate::io::Io::reset) | `ConnectionReset` | `BrokenPipe` |
//!
//! This is what Envoy 1.40 was seen to do across an internal hop. An inner idle timeout (a plain close) makes the outer
//! proxy log `UR` and reset its client, also when the inner one had passed on the upstream's FIN before; but when the
//! client's FIN had been passed on, the same close is an orderly end. A reset by the upstream is one (`UR`) in each case.
//! An end that is dropped while a panic unwinds closes like any other.

mod direction;
mod end;
mod fusion;
mod queue;
mod refusal;
mod stream;

pub use end::UserSpaceSocket;
pub(crate) use fusion::{BufferLimits, Met, Parted};
pub use refusal::{Refusal, RefusalNote};

use std::rc::Rc;

use end::Shared;

use crate::address::Address;

/// Envoy's default for `buffer_size_kb` of the internal listener bootstrap extension.
pub const DEFAULT_BUFFER_SIZE: usize = 1024 * 1024;

/// What a new pair is told.
#[derive(Debug, Clone)]
pub struct PairOptions {
    /// Where the client end says it is; in Envoy always [`Address::internal_client`].
    pub client_address: Address,
    /// Where the server end is: the address that the client asked for.
    pub server_address: Address,
    /// How many bytes of memory each direction may hold.
    pub buffer_size: usize,
}

impl PairOptions {
    /// A connection from [`Address::internal_client`] to `server_address`, with Envoy's buffer size.
    pub fn new(server_address: Address) -> Self {
        Self { client_address: Address::internal_client(), server_address, buffer_size: DEFAULT_BUFFER_SIZE }
    }

    /// With `bytes` of buffer in each direction.
    #[must_use]
    pub fn with_buffer_size(mut self, bytes: usize) -> Self {
        self.buffer_size = bytes;
        self
    }
}

/// Makes a connected pair: the client end and the server end.
pub fn pair(options: PairOptions) -> (UserSpaceSocket, UserSpaceSocket) {
    UserSpaceSocket::both(&Rc::new(Shared::new(options)))
}

#[cfg(test)]
mod tests;
