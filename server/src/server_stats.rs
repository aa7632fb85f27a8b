//! The stats of the process as a whole, `server.*`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/statistics>

use underpass_core::stats::{Counter, Gauge, Histogram, Scope, Unit};

use crate::{lifecycle::Lifecycle, listener_manager::ListenerManager, memory};

/// Handles to `server.*`.
pub struct ServerStats {
    concurrency: Gauge,
    live: Gauge,
    memory_allocated: Gauge,
    memory_heap_size: Gauge,
    memory_physical_size: Gauge,
    state: Gauge,
    uptime: Gauge,
    version: Gauge,
    initialization_time: Histogram,
    /// Fields of the configuration that were ignored with a warning.
    pub static_unknown_fields: Counter,
    total_connections: Gauge,
    _constant: Vec<Gauge>,
    _never: Vec<Counter>,
}

impl ServerStats {
    /// Resolves the stats below the root scope.
    pub fn new(root: &Scope, concurrency: usize) -> Self {
        let scope = root.scope("server");
        let stats = Self {
            concurrency: scope.gauge("concurrency"),
            live: scope.gauge("live"),
            memory_allocated: scope.gauge("memory_allocated"),
            memory_heap_size: scope.gauge("memory_heap_size"),
            memory_physical_size: scope.gauge("memory_physical_size"),
            state: scope.gauge("state"),
            uptime: scope.gauge("uptime"),
            version: scope.gauge("version"),
            initialization_time: scope.histogram("initialization_time_ms", Unit::Milliseconds),
            static_unknown_fields: scope.counter("static_unknown_fields"),
            total_connections: scope.gauge("total_connections"),
            // What dashboards look for and what is always so here.
            _constant: ["hot_restart_epoch", "parent_connections", "compilation_settings.fips_mode"]
                .map(|name| scope.gauge(name))
                .into(),
            _never: ["wip_protos", "dropped_stat_flushes"].map(|name| scope.counter(name)).into(),
        };
        // No certificate will expire.
        scope.gauge("days_until_first_cert_expiring").set(u64::from(u32::MAX));
        stats.concurrency.set(concurrency as u64);
        stats.version.set(version_code());
        stats
    }

    /// Notes that the process is ready.
    pub fn initialized(&self, lifecycle: &Lifecycle, listeners: &ListenerManager) {
        self.initialization_time.record(u64::try_from(lifecycle.uptime().as_millis()).unwrap_or(u64::MAX));
        self.update(lifecycle, listeners);
    }

    /// Brings the gauges up to date; before they are shown.
    pub fn update(&self, lifecycle: &Lifecycle, listeners: &ListenerManager) {
        self.total_connections.set(listeners.connections());
        let memory = memory::usage();
        self.memory_allocated.set(memory.allocated);
        self.memory_heap_size.set(memory.heap_size);
        self.memory_physical_size.set(memory.physical);
        let state = lifecycle.state();
        self.state.set(state as u64);
        self.live.set(u64::from(state == crate::lifecycle::State::Live));
        self.uptime.set(lifecycle.uptime().as_secs());
    }
}

/// `server.version` is a number that tells versions apart.
fn version_code() -> u64 {
    let part = |text: &str| text.parse::<u64>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | part(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | part(env!("CARGO_PKG_VERSION_PATCH"))
}
