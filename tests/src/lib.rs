//! What the end-to-end tests share: the binary under test, the proxies started from it, origin servers and clients.
//!
//! Everything is real: processes, sockets, files. Ports come from the kernel: configurations say `port_value: 0`, and
//! the proxy is asked where it listens. Nothing sleeps for luck: [`eventually`] waits for a condition with a deadline.
//!
//! Everything is asked of Envoy's own options and paths, so the expectations can be checked on Envoy itself:
//! `UNDERPASS_BIN=path/to/envoy cargo test -p underpass-tests`. What fails there are our own additions: the old form of
//! the documented example, places of errors in a file, warnings, `--list-extensions`, `--compat`, `demo`, hop limits, drain
//! on TERM, metadata of requests behind a hop.

#![expect(clippy::expect_used, reason = "a test that cannot go on shall say so and end")]

pub mod admin;
pub mod binary;
pub mod client;
pub mod config;
pub mod constant_load;
pub mod control_plane;
pub mod differential;
pub mod example;
pub mod feature;
pub mod h2_peer;
pub mod h2_proxy;
pub mod http_client;
pub mod http_config;
pub mod http_origin;
pub mod kernel_queue;
pub mod mistake;
pub mod origin;
pub mod payload;
pub mod proxy;
pub mod resources;
pub mod scripted_plane;
mod server_thread;
pub mod tls;
pub mod tunnel;
pub mod watched_files;

use std::time::{Duration, Instant};

pub use crate::{
    admin::Admin,
    config::{Chain, With},
    http_origin::HttpOrigin,
    origin::Origin,
    proxy::{Proxy, Start},
    watched_files::WatchedFiles,
};

/// How long anything may take that is expected to happen. Generous, since machines that run tests are often busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds; panics with `what` if it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within_patience(condition), "not within {PATIENCE:?}: {what}");
}

/// Waits until the condition holds; whether it did within [`PATIENCE`].
pub fn within_patience(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    true
}

/// Waits until a value can be had.
#[track_caller]
pub fn eventually_some<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, || {
        found = get();
        found.is_some()
    });
    found.unwrap_or_else(|| unreachable!("the condition held"))
}
