//! Listener filters: they look at a connection before a filter chain is chosen for it.

use std::{fmt, rc::Rc, sync::Arc};

use crate::{
    build_context::{BuildContext, BuildError},
    connection::BoxFuture,
    extension::Category,
    io::BoxIo,
    stream_info::SharedStreamInfo,
    worker::Worker,
};

/// The configuration of a listener filter.
#[typetag::deserialize(tag = "@type")]
pub trait ListenerFilterConfig: fmt::Debug + Send + Sync {
    /// Builds the filter, once per version of the configuration.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError>;
}

impl Category for dyn ListenerFilterConfig {
    const NAME: &'static str = "listener filter";
}

/// A listener filter, shared by all workers and connections.
pub trait ListenerFilter: Send + Sync {
    /// Inspects a connection: it may peek, replace `socket.io` by a wrapper, and write what it found into `socket.info`.
    /// An error closes the connection. The listener bounds the time (`listener_filters_timeout`).
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>>;
}

/// A connection that was accepted but has no filter chain yet.
pub struct AcceptedSocket {
    /// The bytes.
    pub io: BoxIo,
    /// What is known of it.
    pub info: SharedStreamInfo,
    /// The worker it lives on.
    pub worker: Rc<Worker>,
}

/// Why a listener filter turned a connection away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerFilterError {
    /// Reading failed, or the peer went away.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What the peer sent is not acceptable to this filter.
    #[error("{0}")]
    Rejected(String),
}
