//! The end of loops: a connection passes a limited number of internal listeners.
//!
//! A listener whose cluster leads back to it would otherwise use up every connection that the circuit breakers allow
//! (Envoy: 1,024 a cluster). Which loops a configuration has is said when it is loaded; what filter state or a control plane
//! brings about ends here.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use underpass_core::client_connection::{ConnectContext, ConnectError};

/// Counts hops and remembers for which listeners it has complained.
#[derive(Debug, Default)]
pub(crate) struct HopLimit {
    logged: Mutex<HashSet<Arc<str>>>,
}

impl HopLimit {
    /// How many internal listeners a connection will have come through with this one.
    ///
    /// # Errors
    /// If those are more than `underpass.max_internal_hops`.
    pub(crate) fn next_hop(
        &self,
        context: &ConnectContext<'_>,
        listener: &Arc<str>,
    ) -> Result<u32, ConnectError> {
        let hops = context.downstream.map_or(0, |info| info.internal_hops.get()).saturating_add(1);
        let server = context.worker.server();
        match server.runtime.snapshot().max_internal_hops() {
            Some(limit) if hops > limit => {
                // The root scope keeps the counter, which exists from the first refusal on.
                server.stats.counter(&format!("listener.{listener}.internal_hop_limit")).inc();
                self.log_once(listener, context, limit);
                let source = io::Error::new(io::ErrorKind::InvalidInput, "Internal hop limit");
                Err(crate::immediate(context.address, source))
            }
            _ => Ok(hops),
        }
    }

    fn log_once(&self, listener: &Arc<str>, context: &ConnectContext<'_>, limit: u32) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.insert(Arc::clone(listener)) {
            tracing::warn!(
                target: "connection",
                "a connection of cluster '{}' to the internal listener '{listener}' is refused, since it came through \
                 {limit} internal listeners already: is there a loop? (underpass.max_internal_hops; this is said once, \
                 listener.{listener}.internal_hop_limit counts on)",
                context.cluster.name
            );
        }
    }
}
