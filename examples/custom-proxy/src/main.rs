//! A proxy with an extension of its own, and the built-in ones that it wants.

mod allow_list;

use underpass_ext_access_logger_stream as _;
use underpass_ext_bootstrap_internal_listener as _;
use underpass_ext_tcp_proxy as _;

fn main() -> std::process::ExitCode {
    underpass_server::main()
}
