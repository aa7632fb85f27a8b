//! Internal listeners: connections from within the process, by name instead of by socket.

use std::rc::Rc;

use underpass_core::{
    address::Address, internal_listener::InternalListener, user_space_socket::UserSpaceSocket,
};

use super::active_listener::ActiveListener;

/// An internal listener of one worker, as its registry knows it.
pub(crate) struct InternalEndpoint(pub(crate) Rc<ActiveListener>);

impl InternalListener for InternalEndpoint {
    fn accept(&self, socket: UserSpaceSocket, local: Address) {
        self.0.accept_internal(socket, local);
    }
}
