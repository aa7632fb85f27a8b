//! What an Underpass extension sees.

pub mod stats;
