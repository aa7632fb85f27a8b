//! What an Underpass extension sees.

pub mod address;
pub mod config;
pub mod drain;
pub mod init;
pub mod io;
pub mod relay;
pub mod response_flags;
pub mod stats;
pub mod user_space_socket;
