//! Why the far end of a hop gave a connection up, for whoever opened it.
//!
//! A connection inside the process can only end, or be reset. When a `tcp_proxy` behind an internal listener opens a tunnel
//! and the proxy at the other end refuses, whoever sent a request into the hop would never learn why. So both ends of a
//! user-space socket share a note: the listener's side leaves the refusal there before it closes, and the client's side, a
//! pool for example, reads it when the connection is gone. A `tcp_proxy` in between copies it to the hop before.

use std::{fmt, rc::Rc};

use super::end::Shared;

/// What a proxy answered instead of opening a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// In Envoy's words, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`: `tunnel_response:403`.
    pub reason: String,
}

/// A place for one [`Refusal`], shared by both ends of a hop.
#[derive(Clone)]
pub struct RefusalNote(pub(super) Rc<Shared>);

impl RefusalNote {
    /// A proxy was connected to and is being asked for a tunnel. From now on the hop counts as connected, however soon the
    /// answer comes: in Envoy it comes in a later turn of the event loop than the one in which the hop is connected.
    pub fn ask(&self) {
        self.0.tunnel_asked.set(true);
    }

    /// Whether a proxy was asked.
    pub fn was_asked(&self) -> bool {
        self.0.tunnel_asked.get()
    }

    /// Leaves a refusal; the first one counts.
    pub fn leave(&self, refusal: Refusal) {
        let _ = self.0.refusal.set(Box::new(refusal));
    }

    /// What was left.
    pub fn get(&self) -> Option<&Refusal> {
        self.0.refusal.get().map(|refusal| &**refusal)
    }
}

impl fmt::Debug for RefusalNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RefusalNote").field(&self.get()).finish()
    }
}
