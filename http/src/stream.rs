//! One request and its answer, as every HTTP filter sees them.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    rc::Rc,
    sync::Arc,
};

use underpass_core::{drain::DrainWatch, stream_info::SharedStreamInfo, worker::Worker};

use crate::head::RequestHead;

/// The downstream connection that carries a stream.
pub struct HttpConnection {
    /// What is known of the connection.
    pub info: SharedStreamInfo,
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// Tells when its listener drains.
    pub drain: DrainWatch,
    /// How many bytes it may buffer.
    pub buffer_limit: usize,
}

/// One request and its answer.
pub struct HttpStream {
    /// What is known of it. It starts with what is known of the connection.
    pub info: SharedStreamInfo,
    /// The connection.
    pub connection: Rc<HttpConnection>,
    request: RefCell<RequestHead>,
    /// The type of an upgrade that the connection manager allows: `CONNECT`, `websocket`; none for a usual request.
    upgrade: RefCell<Option<Arc<str>>>,
    close_after_answer: Cell<bool>,
}

impl HttpStream {
    /// A stream at its beginning.
    pub fn new(connection: Rc<HttpConnection>, info: SharedStreamInfo, request: RequestHead) -> Self {
        Self {
            info,
            connection,
            request: RefCell::new(request),
            upgrade: RefCell::default(),
            close_after_answer: Cell::default(),
        }
    }

    /// The request's head, as the filters before left it. Do not hold it across an await.
    pub fn request(&self) -> Ref<'_, RequestHead> {
        self.request.borrow()
    }

    /// The same, to change it.
    pub fn request_mut(&self) -> RefMut<'_, RequestHead> {
        self.request.borrow_mut()
    }

    /// The worker.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }

    /// The upgrade that the request asks for and may have: `CONNECT`, `websocket`.
    pub fn upgrade(&self) -> Option<Arc<str>> {
        self.upgrade.borrow().clone()
    }

    /// For the connection manager: the request is an upgrade of this type, and may be.
    pub fn allow_upgrade(&self, kind: Arc<str>) {
        *self.upgrade.borrow_mut() = Some(kind);
    }

    /// Asks the connection manager to close an HTTP/1 connection after the answer.
    pub fn close_after_answer(&self) {
        self.close_after_answer.set(true);
    }

    /// Whether somebody asked for that.
    pub fn closes_after_answer(&self) -> bool {
        self.close_after_answer.get()
    }
}
