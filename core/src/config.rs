//! Reading a configuration.

pub mod known;
