//! The engine of Underpass: it reads an Envoy configuration, listens, balances, connects, and answers the admin.
//!
//! A binary is one call of [`main`] and one `use ext_… as _;` for each extension that it links; see `proxy-bin` and
//! `examples/custom-proxy`. The engine never names an extension: they meet in the traits of `underpass-core`.

mod access_log_files;
mod admin;
mod bootstrap_dump;
mod client_connection;
mod cluster;
mod cluster_manager;
mod command_line;
mod config;
mod config_source;
mod cross_checks;
mod dynamic_resources;
mod lifecycle;
mod listener;
mod listener_manager;
mod load;
mod logging;
mod memory;
mod runtime_layers;
mod server;
mod server_stats;
mod service_manager;
mod socket_option;
mod stats_config;
#[cfg(test)]
mod test_server;
mod timestamp;
mod version;
mod worker_thread;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use underpass_core::{config::Report, extension::ExtensionSet};

use crate::{
    command_line::{Mode, Options},
    load::LoadError,
    logging::Logging,
    server::Server,
};

/// Runs a proxy with the arguments of the process; the whole of a binary's `main`.
///
/// The exit code is Envoy's: 0 after an orderly stop, 1 if the command line or the configuration is wrong or
/// something could not be opened.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs a proxy with these arguments, the program's name first; for a binary that has arguments of its own.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::parse_from_args(arguments) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    if options.version {
        say(&format!(
            "{}  version: {}\n",
            env!("CARGO_PKG_NAME").trim_end_matches("-server"),
            version::full()
        ));
        return ExitCode::SUCCESS;
    }
    if options.hot_restart_version {
        say("disabled\n");
        return ExitCode::SUCCESS;
    }
    let extensions = match ExtensionSet::from_inventory() {
        Ok(extensions) => extensions,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(error) = underpass_core::config::Descriptors::check() {
        return fail(&error);
    }
    if options.list_extensions {
        say(&list(&extensions));
        return ExitCode::SUCCESS;
    }
    let logging = Logging::install(
        options.log_level,
        &options.component_log_level,
        &options.log_format,
        options.log_format_escaped,
        options.log_path.as_deref(),
    );
    match logging {
        Ok(logging) => start(options, Arc::new(logging), extensions),
        Err(error) => fail(&error.to_string()),
    }
}

fn start(options: Options, logging: Arc<Logging>, extensions: ExtensionSet) -> ExitCode {
    for option in &options.ignored_options {
        tracing::warn!(target: "main", "option {option} has no effect here");
    }
    let (mode, name) = (options.mode, options.config_name());
    let loaded = match load::load(&options, &extensions) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(mode, &name, &explain(&error)),
    };
    match Server::build(options, logging, loaded, Arc::new(extensions)) {
        (None, report) => refuse(mode, &name, &report.to_string()),
        (Some(server), report) if mode == Mode::Validate => {
            warn(&report);
            if let Err(error) = server.check_sources() {
                return refuse(mode, &name, &error.to_string());
            }
            say(&format!("configuration '{name}' OK\n"));
            ExitCode::SUCCESS
        }
        (Some(server), report) => {
            warn(&report);
            match server.serve() {
                Ok(code) => code,
                Err(error) => refuse(mode, &name, &error.to_string()),
            }
        }
    }
}

fn explain(error: &LoadError) -> String {
    match error {
        LoadError::Report(report) => report.to_string(),
        other => other.to_string(),
    }
}

fn warn(report: &Report) {
    for warning in report.warnings() {
        tracing::warn!(target: "config", "{warning}");
    }
}

/// Says why there is no server, in the frame in which Envoy says it: to the log, and bare at the end.
fn refuse(mode: Mode, name: &str, message: &str) -> ExitCode {
    match mode {
        Mode::Validate => {
            tracing::error!(target: "main", critical = true, "error initializing configuration '{name}': {message}");
        }
        Mode::Serve | Mode::InitOnly => {
            tracing::error!(target: "main", critical = true, "error initializing config '{name}'");
            tracing::info!(target: "main", "exiting");
            eprintln!("{message}");
        }
    }
    ExitCode::FAILURE
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no reason to fail.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

/// Help is no error; everything else exits with 1, as Envoy does (clap would exit with 2).
///
/// The last line says what is wrong, in one line: that is where people and scripts look.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // If the text cannot be printed there is nobody to read it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    eprintln!("'--help' lists all options");
    eprintln!("{}", one_line(&error.to_string()));
    ExitCode::FAILURE
}

/// What clap says of a wrong command line, without the usage that follows.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    said.collect::<Vec<_>>().join("; ")
}

/// One line for each extension: category, name, type URL, crate.
fn list(extensions: &ExtensionSet) -> String {
    let mut rows = vec![["category".into(), "name".into(), "type URL".into(), "crate".into()]];
    for extension in extensions.list() {
        let type_url = extension.type_url().unwrap_or_else(|| "-".into());
        rows.push([
            extension.category.to_owned(),
            extension.name.to_owned(),
            type_url,
            extension.provider.into(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 4]| {
        format!(
            "{:w0$}  {:w1$}  {:w2$}  {}\n",
            row[0],
            row[1],
            row[2],
            row[3],
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2]
        )
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(arguments: &[&str]) -> String {
        let error = Options::parse_from_args([&["underpass"], arguments].concat()).unwrap_err();
        one_line(&error.to_string())
    }

    #[test]
    fn a_wrong_command_line_is_explained_in_one_line() {
        insta::assert_snapshot!(said(&["--no-such-flag"]), @"error: unexpected argument '--no-such-flag' found");
        insta::assert_snapshot!(said(&["--mode", "check"]), @"error: invalid value 'check' for '--mode <MODE>'; [possible values: serve, validate, init_only]");
        insta::assert_snapshot!(said(&["-l", "loud"]), @r#"error: invalid value 'loud' for '--log-level <LOG_LEVEL>': unknown log level "loud"; known: trace, debug, info, warning, error, critical, off"#);
    }
}
