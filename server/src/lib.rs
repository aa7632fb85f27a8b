//! The engine of Underpass.
#![allow(dead_code)]
mod access_log_files;
mod bootstrap_dump;
mod client_connection;
mod cluster;
pub mod cluster_manager;
mod command_line;
pub mod config;
mod cross_checks;
mod lifecycle;
mod listener;
pub mod listener_manager;
mod load;
mod logging;
mod memory;
mod runtime_layers;
mod server_stats;
pub mod socket_option;
mod stats_config;
#[cfg(test)]
mod test_server;
mod timestamp;
mod version;
