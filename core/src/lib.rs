//! What an Underpass extension sees.

pub mod config;
pub mod stats;
