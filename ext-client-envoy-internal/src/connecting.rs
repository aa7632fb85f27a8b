//! When the client's end of a new pair counts as connected.
//!
//! In Envoy the listener accepts inside the client's `connect`, and the client learns in a later turn of its event loop that it is
//! connected. So an internal listener that closes before then, say because its own upstream refuses at once, fails the
//! client's connect, while one that closes later resets an established connection. A listener that is connected upstream
//! itself closes for neither reason, so nobody waits for more turns then.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use underpass_core::{
    io::Io,
    turns::{Passing, Turns},
    user_space_socket::UserSpaceSocket,
};

/// After how many turns of the event loop the client's end counts as connected.
const CONNECTED_AFTER: u32 = 2;

/// Waits until a connection counts as connected.
pub(crate) struct Connecting<'a> {
    client: &'a mut UserSpaceSocket,
    turns: Passing,
}

/// The listener closed the connection, which was of no use to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotConnected {
    /// While it took it.
    AtOnce,
    /// Before it counted as connected.
    Later,
}

impl<'a> Connecting<'a> {
    /// Waits for a connection that a listener has just been given; it is the `hops`-th internal one on the way.
    pub(crate) fn new(client: &'a mut UserSpaceSocket, turns: &Turns, hops: u32) -> Self {
        Self { client, turns: turns.pass(CONNECTED_AFTER + watched_after(hops)) }
    }

    /// Whether the listener has answered, or has asked a proxy for a tunnel: if it closes after that, however soon, it has been
    /// connected to.
    fn was_of_use(&self) -> bool {
        self.client.unread() > 0 || self.client.refusal_note().is_some_and(|note| note.was_asked())
    }
}

/// For how many turns more a listener that closes is noticed. Envoy notices it on all but the first of several hops in a row: when
/// the upstream behind three of them refuses, it logs `UR` for the first, and `UF` for the others and for the last listener.
/// On the second hop it notices even a listener behind it that is absent, which takes a turn more; on the third it does not.
fn watched_after(hops: u32) -> u32 {
    match hops {
        0 | 1 => 0,
        2 => 2,
        _ => 1,
    }
}

impl Future for Connecting<'_> {
    type Output = Result<(), NotConnected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.client.is_established() {
            return Poll::Ready(Ok(()));
        }
        let closed = self.client.poll_peer_gone(cx).is_ready() && !self.was_of_use();
        let outcome = match self.turns.passed() {
            _ if !closed => Ok(()),
            0 => return Poll::Ready(Err(NotConnected::AtOnce)),
            _ => {
                self.turns.wait_for(CONNECTED_AFTER);
                Err(NotConnected::Later)
            }
        };
        Pin::new(&mut self.turns).poll(cx).map(|()| outcome)
    }
}
