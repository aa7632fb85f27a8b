//! What an Underpass extension sees: the extension mechanism, the configuration tree, sockets, stats, and the traits in
//! which extensions and the engine meet.
//!
//! An extension is a config struct and one `impl` with the [`extension`](macro@extension) attribute; see
//! `docs/writing-an-extension.md`. The engine (`underpass-server`) implements what is a trait here and is never
//! named by an extension.

pub mod access_log;
pub mod address;
pub mod admin;
pub mod bootstrap_extension;
pub mod build_context;
pub mod client_connection;
pub mod cluster;
pub mod config;
pub mod config_subscription;
pub mod connection;
pub mod drain;
pub mod extension;
pub mod filter_state;
pub mod formatter;
pub mod init;
pub mod internal_listener;
pub mod io;
pub mod listener_filter;
pub mod main_thread;
pub mod matcher;
pub mod metadata;
pub mod network_filter;
pub mod protocol_options;
pub mod proxy_protocol;
pub mod relay;
pub mod response_flags;
pub mod runtime;
pub mod server;
pub mod set_filter_state;
pub mod stats;
pub mod stream_info;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timers;
pub mod transport_socket;
pub mod turns;
pub mod user_space_socket;
pub mod worker;

/// The attribute that registers an extension; its arguments are described at [`underpass_core_macros::extension`].
pub use underpass_core_macros::extension;

// The attribute's expansion names this crate, which is also used here.
extern crate self as underpass_core;

/// What the [`extension`](macro@extension) attribute, [`forward_io`] and [`forward_writes`] expand to; not for direct use.
#[doc(hidden)]
pub mod __private {
    pub use crate::config::typetag;
    pub use bytes::Bytes;
    pub use inventory;
    pub use tokio::io::{AsyncWrite, ReadBuf};
}
