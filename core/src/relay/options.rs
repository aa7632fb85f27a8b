//! What a relay is told.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::BufferPool;
use crate::timers::Timers;

/// How a relay shall behave.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// How many bytes may wait to be written to downstream (`per_connection_buffer_limit_bytes` of the listener).
    pub downstream_buffer_limit: usize,
    /// How many bytes may wait to be written to upstream (`per_connection_buffer_limit_bytes` of the cluster).
    pub upstream_buffer_limit: usize,
    /// End when no byte was read or written on either side for this long.
    pub idle_timeout: Option<Duration>,
    /// End at this moment.
    pub deadline: Option<Instant>,
    /// Whether a downstream on a kernel socket is watched while it is not read, so that its reset is noticed although the
    /// upstream takes nothing. It takes a descriptor where that happens.
    pub watch_aborts: bool,
    /// Whether the hop before this relay may do its work, where the downstream is a user-space socket: what is seen is the same,
    /// only cheaper.
    pub fuse_hops: bool,
    /// Bytes that the caller has already read (and counted) from downstream; they go upstream first.
    pub early_data: Bytes,
    /// Where buffers come from and go back to; the worker's pool.
    pub pool: BufferPool,
    /// Where its timeouts wait; the worker's timers.
    pub timers: Timers,
}

/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER_LIMIT: usize = 1024 * 1024;

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            downstream_buffer_limit: DEFAULT_BUFFER_LIMIT,
            upstream_buffer_limit: DEFAULT_BUFFER_LIMIT,
            idle_timeout: None,
            deadline: None,
            watch_aborts: false,
            fuse_hops: true,
            early_data: Bytes::new(),
            pool: BufferPool::default(),
            timers: Timers::default(),
        }
    }
}
