//! The engine of Underpass.

pub mod config;
pub mod socket_option;
