//! What an Underpass extension sees.

pub mod address;
pub mod config;
pub mod drain;
pub mod extension;
pub mod init;
pub mod io;
pub mod relay;
pub mod response_flags;
pub mod stats;
pub mod user_space_socket;

/// The attribute that registers an extension; its arguments are described at [`underpass_core_macros::extension`].
pub use underpass_core_macros::extension;

// The attribute's expansion names this crate, which is also used here.
extern crate self as underpass_core;

/// What the [`extension`](macro@extension) attribute expands to; not for direct use.
#[doc(hidden)]
pub mod __private {
    pub use {inventory, typetag};
}
