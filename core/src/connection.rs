//! A downstream connection on its way through a filter chain.

use std::{io, rc::Rc};

use crate::{drain::DrainWatch, io::BoxIo, stream_info::SharedStreamInfo, worker::Worker};

/// A future of one worker; what belongs to a connection is not `Send`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a network filter serves.
pub struct Connection {
    /// The bytes.
    pub io: BoxIo,
    /// What is known of it; the listener writes its access logs from it when the filter chain is done.
    pub info: SharedStreamInfo,
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// Tells when its listener drains.
    pub drain: DrainWatch,
    /// `per_connection_buffer_limit_bytes` of its listener.
    pub buffer_limit: usize,
}

/// Why a filter chain gave a connection up. It is for logs and counters: the connection is closed either way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The client's side failed.
    #[error("downstream: {0}")]
    Downstream(#[source] io::Error),
    /// The server's side failed.
    #[error("upstream: {0}")]
    Upstream(#[source] io::Error),
    /// This proxy refused or gave up.
    #[error("{0}")]
    Local(String),
}
