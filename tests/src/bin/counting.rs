//! The engine with an allocator that counts, for `.ci/counts`: a line on standard input is answered with the number of
//! allocations so far and of the bytes that are held now.
//!
//! If `DHAT_FILE` names a file, what was allocated where is written to it at the end, for the viewer of DHAT
//! (<https://nnethercote.github.io/dh_view/dh_view.html>) and for `.ci/counts --sites`.

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
    thread,
};

use underpass_ext_access_logger_file as _;
use underpass_ext_bootstrap_internal_listener as _;
use underpass_ext_http_connection_manager as _;
use underpass_ext_http_router as _;
use underpass_ext_tcp_proxy as _;
use underpass_ext_transport_raw_buffer as _;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    let profiler = dhat::Profiler::builder();
    let _profiler = match std::env::var_os("DHAT_FILE") {
        Some(file) => profiler.file_name(file).trim_backtraces(None).build(),
        // Where an allocation came from is found out for nobody; a short backtrace is a quick one.
        None => profiler.testing().trim_backtraces(Some(1)).build(),
    };
    thread::spawn(answer);
    underpass_server::main()
}

/// Answers until nobody asks any more. It allocates nothing from the second question on, so that it does not count itself.
fn answer() -> io::Result<()> {
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut question = String::new();
    while questions.read_line(&mut question)? > 0 {
        question.clear();
        let stats = dhat::HeapStats::get();
        writeln!(answers, "{} {}", stats.total_blocks, stats.curr_bytes)?;
    }
    Ok(())
}
