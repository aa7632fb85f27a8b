//! `envoy.filters.network.http_connection_manager`: serves HTTP on connections.

pub mod config;
