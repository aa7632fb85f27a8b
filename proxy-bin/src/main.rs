//! The reference binary of Underpass: the engine, and every extension of this repository.
//!
//! A crate that is only named in Cargo.toml is not linked and registers nothing; the `use` is what links it, and the lint
//! below makes sure that none is forgotten.
#![deny(unused_crate_dependencies)]

mod demo;
#[cfg(feature = "http")]
mod http;

use std::process::ExitCode;

use underpass_ext_access_logger_file as _;
use underpass_ext_access_logger_stream as _;
use underpass_ext_bootstrap_internal_listener as _;
use underpass_ext_client_envoy_internal as _;
use underpass_ext_listener_http_inspector as _;
use underpass_ext_listener_original_dst as _;
use underpass_ext_listener_proxy_protocol as _;
use underpass_ext_listener_tls_inspector as _;
use underpass_ext_network_connection_limit as _;
use underpass_ext_network_direct_response as _;
use underpass_ext_network_echo as _;
use underpass_ext_network_set_filter_state as _;
use underpass_ext_tcp_proxy as _;
use underpass_ext_transport_internal_upstream as _;
use underpass_ext_transport_proxy_protocol as _;
use underpass_ext_transport_raw_buffer as _;
#[cfg(feature = "xds")]
use underpass_xds as _;

// Requests are made of many small pieces of memory; this allocator takes a tenth less CPU for them than the C library's. It stands in
// the place of `malloc` (its feature `override`), from which Rust's own allocator gets everything: as a `global_allocator` it would be
// told an alignment each time, which takes it longer and, in its version 3, often a size larger.
use mimalloc as _;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|argument| argument == "demo") {
        return demo::run(arguments.next().as_deref());
    }
    underpass_server::main()
}
