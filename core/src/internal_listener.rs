//! Internal listeners of one worker: the place where the listener manager and the client connection factory meet.
//!
//! The bootstrap extension `envoy.bootstrap.internal_listener` installs an [`InternalListenerRegistry`] into each
//! worker's slots; the listener manager fills it; the client connection factory reads it.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{address::Address, user_space_socket::UserSpaceSocket};

/// An internal listener on one worker.
pub trait InternalListener {
    /// Takes the server half of a new connection. It must not serve it before it returns.
    ///
    /// `local` is the address the client asked for; the remote address is always
    /// [`Address::internal_client`]. What the client side hands on waits in the socket's passthrough slot.
    fn accept(&self, socket: UserSpaceSocket, local: Address);
}

/// Left in the server's singletons by the bootstrap extension: internal listeners are possible.
#[derive(Debug, Clone, Copy)]
pub struct InternalListenerSupport {
    /// How many bytes each direction of an internal connection may hold.
    pub buffer_size: usize,
}

/// The internal listeners of one worker, by name.
pub struct InternalListenerRegistry {
    buffer_size: usize,
    listeners: RefCell<FxHashMap<Arc<str>, Rc<dyn InternalListener>>>,
}

impl InternalListenerRegistry {
    /// An empty registry; `buffer_size` is in bytes per direction.
    pub fn new(buffer_size: usize) -> Self {
        Self { buffer_size, listeners: RefCell::default() }
    }

    /// How many bytes each direction of an internal connection may hold.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size
    }

    /// Puts a listener there; returns the one that it replaces.
    pub fn add(
        &self,
        name: impl Into<Arc<str>>,
        listener: Rc<dyn InternalListener>,
    ) -> Option<Rc<dyn InternalListener>> {
        self.listeners.borrow_mut().insert(name.into(), listener)
    }

    /// Takes a listener away; new connections to it fail at once.
    pub fn remove(&self, name: &str) -> Option<Rc<dyn InternalListener>> {
        self.listeners.borrow_mut().remove(name)
    }

    /// The listener of that name.
    pub fn get(&self, name: &str) -> Option<Rc<dyn InternalListener>> {
        self.listeners.borrow().get(name).cloned()
    }
}
