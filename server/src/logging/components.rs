//! The names of the log components: those of Envoy's that say something here.

/// Every component, in alphabetical order.
pub const COMPONENTS: &[&str] = &[
    "admin",
    "assert",
    "client",
    "config",
    "conn_handler",
    "connection",
    "dns",
    "file",
    "filter",
    "health_checker",
    "init",
    "io",
    "main",
    "misc",
    "pool",
    "rbac",
    "router",
    "runtime",
    "stats",
    "testing",
    "tracing",
    "upstream",
];
