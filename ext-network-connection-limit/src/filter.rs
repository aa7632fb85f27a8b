//! What happens to each connection.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::io::AsyncReadExt;
use underpass_core::{
    config::RuntimeFeatureFlag,
    connection::{BoxFuture, Connection, ConnectionError},
    io::refuse,
    network_filter::{NetworkFilter, Next},
    runtime::RuntimeSnapshot,
    stat_group,
};

stat_group! {
    /// What the filter counts.
    pub(crate) struct ConnectionLimitStats {
        /// Connections that were let in and are open.
        gauge active_connections,
        /// Connections that were turned away.
        counter limited_connections,
    }
}

/// The filter, shared by all workers.
pub(crate) struct ConnectionLimitFilter {
    pub(crate) max_connections: u64,
    pub(crate) delay: Duration,
    pub(crate) enabled: Option<RuntimeFeatureFlag>,
    /// The connections that were let in. The gauge cannot decide: it is a sum that may lag behind.
    pub(crate) open: AtomicU64,
    pub(crate) stats: ConnectionLimitStats,
}

impl NetworkFilter for ConnectionLimitFilter {
    fn serve<'a>(
        &'a self,
        connection: Connection,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            if !self.is_enabled(&connection.worker.server().runtime.snapshot()) {
                return next.run(connection).await;
            }
            let Some(_place) = self.take_place() else {
                self.stats.limited_connections.inc();
                let info = Rc::clone(&connection.info);
                self.turn_away(connection).await;
                next.turned_away(&info);
                // The word that Envoy logs.
                return Err(ConnectionError::Local("over_connection_limit".to_owned()));
            };
            let _open = self.stats.active_connections.hold();
            next.run(connection).await
        })
    }
}

impl ConnectionLimitFilter {
    fn is_enabled(&self, runtime: &RuntimeSnapshot) -> bool {
        self.enabled.as_ref().is_none_or(|flag| {
            let default = flag.default_value.unwrap_or(true);
            if flag.runtime_key.is_empty() { default } else { runtime.boolean(&flag.runtime_key, default) }
        })
    }

    fn take_place(&self) -> Option<Place<'_>> {
        let within = |open: u64| (open < self.max_connections).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok()?;
        Some(Place(&self.open))
    }

    async fn turn_away(&self, mut connection: Connection) {
        *connection.info.details.downstream_local_close_reason.borrow_mut() =
            Some("over_connection_limit".into());
        if self.delay.is_zero() {
            return refuse(connection.io);
        }
        let mut buffer = [0; 512];
        let until_it_leaves = async {
            // Bytes left unread would turn the close into a reset.
            while let Ok(read @ 1..) = connection.io.read(&mut buffer).await {
                let received = &connection.info.bytes_received;
                received.set(received.get() + read as u64);
            }
        };
        // Either way the connection is closed, by dropping it.
        let _ = tokio::time::timeout(self.delay, until_it_leaves).await;
    }
}

/// One of the places for connections; free again when dropped.
struct Place<'a>(&'a AtomicU64);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
