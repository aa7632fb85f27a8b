//! `envoy.filters.network.connection_limit`: turns connections away while too many are open.
//!
//! The limit is for all workers together. A connection that is turned away is closed at once or, where `delay` is set,
//! after that time, so that a client cannot try again as fast as it likes; what it sends meanwhile is thrown away.
//!
//! | stat | what it counts |
//! |---|---|
//! | `connection_limit.<stat_prefix>.active_connections` | gauge: connections that were let in and are open |
//! | `connection_limit.<stat_prefix>.limited_connections` | counter: connections that were turned away |
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/connection_limit_filter>

mod config;
mod filter;

pub use self::config::ConnectionLimit;
