//! How many connections there are, and how many there may be.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use underpass_core::runtime::RuntimeSnapshot;

/// Envoy's runtime key for the limit of the process, deprecated in favour of the resource monitor.
const GLOBAL_LIMIT_KEY: &str = "overload.global_downstream_max_connections";

/// A number of connections, shared by all workers.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionCount(Arc<AtomicU64>);

/// One that counts as long as this value lives.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicU64>);

impl ConnectionCount {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more, for who remembers to let it [leave](Self::leave).
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn hold(&self) -> Counted {
        self.enter();
        Counted(Arc::clone(&self.0))
    }

    /// Counts one more, unless there are `limit` already.
    pub(crate) fn hold_below(&self, limit: u64) -> Option<Counted> {
        // Dropping the one that is too many takes it back.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.0));
        (before < limit).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What counts one connection beside the server, as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct CountedEverywhere {
    /// By the listener, unless it was taken in from within the process: who serves it counts it then.
    pub(crate) by_listener: Option<Counted>,
    /// Those that came through kernel sockets.
    _by_process: Option<Counted>,
    /// By the worker's place in an exact balance.
    pub(crate) by_seat: Option<Counted>,
}

impl CountedEverywhere {
    /// One that a listener took in.
    pub(crate) fn new(by_listener: Option<Counted>, by_process: Option<Counted>) -> Self {
        Self { by_listener, _by_process: by_process, by_seat: None }
    }
}

/// The connections of the process that came through kernel sockets, and their limit.
///
/// The limit is that of the overload manager's `envoy.resource_monitors.global_downstream_max_connections`, or, where there
/// is none, the runtime key `overload.global_downstream_max_connections`
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge>).
#[derive(Debug, Default)]
pub(crate) struct GlobalConnections {
    open: ConnectionCount,
    limit: Option<u64>,
}

impl GlobalConnections {
    /// With the limit of the overload manager, if it has one.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { open: ConnectionCount::default(), limit }
    }

    /// Counts one more that was admitted already.
    pub(crate) fn hold(&self) -> Counted {
        self.open.hold()
    }

    /// Counts one more, unless the limit is reached.
    pub(crate) fn admit(&self, runtime: &RuntimeSnapshot) -> Option<Counted> {
        let limit = self.limit.unwrap_or_else(|| runtime.integer(GLOBAL_LIMIT_KEY, u64::MAX));
        self.open.hold_below(limit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use underpass_core::{
        config::Value,
        runtime::{Layer, Runtime},
    };

    use super::*;

    #[test]
    fn the_limit_of_the_process_comes_from_the_runtime() {
        let values = BTreeMap::from([(GLOBAL_LIMIT_KEY.to_owned(), Value::Number(2.0))]);
        let runtime =
            Runtime::new(vec![Layer { name: "base".into(), admin: false, values }], false).snapshot();
        let connections = GlobalConnections::default();
        let first = connections.admit(&runtime).unwrap();
        let _second = connections.admit(&runtime).unwrap();
        assert!(connections.admit(&runtime).is_none());
        drop(first);
        assert!(connections.admit(&runtime).is_some());
    }

    #[test]
    fn the_limit_of_the_overload_manager_goes_before_that_of_the_runtime() {
        let values = BTreeMap::from([(GLOBAL_LIMIT_KEY.to_owned(), Value::Number(5.0))]);
        let layer = Layer { name: "base".into(), admin: false, values };
        let runtime = Runtime::new(vec![layer], false).snapshot();
        let connections = GlobalConnections::new(Some(1));
        let _first = connections.admit(&runtime).unwrap();
        assert!(connections.admit(&runtime).is_none());
    }

    #[test]
    fn a_refused_connection_is_not_counted() {
        let count = ConnectionCount::default();
        assert!(count.hold_below(0).is_none());
        assert_eq!(count.get(), 0);
    }
}
