//! The command line of `underpass`: Envoy's options, and a few of our own.
//!
//! Every option of Envoy 1.40 is known. Those that have no meaning here are accepted, so that scripts written for Envoy
//! go on working, and each that was given is named in a warning.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum, parser::ValueSource};

use crate::logging::LogLevel;

/// What the process shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Check the configuration, then serve traffic.
    Serve,
    /// Check the configuration, then exit.
    Validate,
    /// Start up to the point where traffic would be served, then exit.
    #[value(name = "init_only")]
    InitOnly,
}

/// Whose behaviour decides where we differ on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// Exactly Envoy's: every intended difference that changes traffic is off.
    Envoy,
}

/// More threads than any machine has cores; each costs memory before the first connection.
const MAX_WORKERS: u32 = 4096;

/// How draining connections are spread over the drain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DrainStrategy {
    /// Gradually.
    Gradual,
    /// All at once.
    Immediate,
}

/// The version of IP that is preferred where both are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The options, after parsing.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "underpass",
    about = "A proxy that reads Envoy v3 configuration and is built around internal listeners.",
    disable_version_flag = true
)]
pub struct Options {
    /// Path to configuration file
    #[arg(short = 'c', long)]
    pub config_path: Option<PathBuf>,
    /// Inline YAML configuration, merged over the contents of --config-path as protobuf merges (lists append)
    #[arg(long)]
    pub config_yaml: Option<String>,
    /// Check the configuration and serve, or only check it
    #[arg(long, value_enum, default_value = "serve")]
    pub mode: Mode,
    /// Number of worker threads (default: the number of cores)
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_WORKERS)))]
    pub concurrency: Option<u32>,
    /// Log level: trace, debug, info, warning, error, critical, off
    #[arg(short = 'l', long, default_value = "info")]
    pub log_level: LogLevel,
    /// Comma-separated list of component log levels, for example upstream:debug,config:trace
    #[arg(long, default_value = "")]
    pub component_log_level: String,
    /// Path to log file (default: standard error)
    #[arg(long)]
    pub log_path: Option<PathBuf>,
    /// Log message format in spdlog syntax
    #[arg(long, default_value = crate::logging::DEFAULT_FORMAT)]
    pub log_format: String,
    /// Escape C-style escape sequences in log messages
    #[arg(long)]
    pub log_format_escaped: bool,
    /// How long connections of a listener that stops may go on, in seconds
    #[arg(long, default_value_t = 600)]
    pub drain_time_s: u64,
    /// How draining is spread over that time
    #[arg(long, value_enum, default_value = "gradual")]
    pub drain_strategy: DrainStrategy,
    /// How long a graceful stop may take in all, in seconds
    #[arg(long, default_value_t = 900)]
    pub parent_shutdown_time_s: u64,
    /// Cluster name of this node
    #[arg(long, default_value = "")]
    pub service_cluster: String,
    /// Name of this node
    #[arg(long, default_value = "")]
    pub service_node: String,
    /// Zone of this node
    #[arg(long, default_value = "")]
    pub service_zone: String,
    /// File to write the address of the admin interface to
    #[arg(long)]
    pub admin_address_path: Option<PathBuf>,
    /// Fields that are not known, or not implemented, are warnings instead of errors
    #[arg(long, alias = "allow-unknown-fields")]
    pub allow_unknown_static_fields: bool,
    /// Fields that are not known are errors in configuration that changes while the process runs, too
    #[arg(long)]
    pub reject_unknown_dynamic_fields: bool,
    /// Fields that are not known are ignored without a word in configuration that changes while the process runs
    #[arg(long)]
    pub ignore_unknown_dynamic_fields: bool,
    /// Interval for flushing access logs, in milliseconds
    #[arg(long, default_value_t = 10_000)]
    pub file_flush_interval_msec: u64,
    /// Size at which access logs are flushed, in KB
    #[arg(long, default_value_t = 64)]
    pub file_flush_min_size_kb: u64,
    /// A tag for all stats, as tag:value; may be repeated
    #[arg(long = "stats-tag")]
    pub stats_tag: Vec<String>,
    /// The IP version to prefer
    #[arg(long, value_enum, default_value = "v4")]
    pub local_address_ip_version: IpVersion,
    /// Behave exactly as Envoy where we would differ on purpose (see docs/differences.md)
    #[arg(long, value_enum)]
    pub compat: Option<Compat>,
    /// Print the hot restart compatibility version: there is no hot restart
    #[arg(long)]
    pub hot_restart_version: bool,
    /// List the extensions that are linked: category, name, type URL, crate
    #[arg(long)]
    pub list_extensions: bool,
    /// Print the version
    #[arg(long, action = ArgAction::SetTrue)]
    pub version: bool,

    #[command(flatten)]
    ignored: Ignored,
    /// The options of [`Ignored`] that were given.
    #[arg(skip)]
    pub ignored_options: Vec<String>,
}

/// Options of Envoy that are accepted and do nothing here.
#[derive(Debug, Clone, Parser)]
#[command(next_help_heading = "Accepted for compatibility with Envoy; without effect")]
struct Ignored {
    /// There is no hot restart
    #[arg(long)]
    disable_hot_restart: bool,
    /// There is no hot restart
    #[arg(long)]
    base_id: Option<u32>,
    /// There is no hot restart
    #[arg(long)]
    base_id_path: Option<String>,
    /// There is no hot restart
    #[arg(long)]
    use_dynamic_base_id: bool,
    /// There is no hot restart
    #[arg(long)]
    restart_epoch: Option<u32>,
    /// There is no hot restart
    #[arg(long)]
    skip_hot_restart_on_no_parent: bool,
    /// There is no hot restart
    #[arg(long)]
    skip_hot_restart_parent_stats: bool,
    /// There is no hot restart
    #[arg(long)]
    socket_path: Option<String>,
    /// There is no hot restart
    #[arg(long)]
    socket_mode: Option<String>,
    /// The number of cores already honours the CPU affinity of the process
    #[arg(long)]
    cpuset_threads: bool,
    /// There are no contended mutexes on the data path
    #[arg(long)]
    enable_mutex_tracing: bool,
    /// Set the limit with ulimit
    #[arg(long)]
    enable_core_dump: bool,
    /// Components are levelled with --component-log-level
    #[arg(long)]
    enable_fine_grain_logging: bool,
    /// A panic is one log entry already
    #[arg(long)]
    log_stacktrace_single_entry: bool,
    /// Deprecated fields are not logged
    #[arg(long)]
    skip_deprecated_logs: bool,
    /// Link a binary without them instead
    #[arg(long)]
    disable_extensions: Option<String>,
}

/// Options that Envoy's own scripts pass as a matter of course; ignoring them deserves no warning.
const USUAL: &[&str] = &["disable_hot_restart", "base_id", "use_dynamic_base_id"];

impl Options {
    /// Parses arguments, the program's name first. The error knows how to print itself, `--help` included.
    pub fn parse_from_args<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let mut options = Self::from_arg_matches(&matches)?;
        options.ignored_options = Ignored::command()
            .get_arguments()
            .map(|argument| argument.get_id().as_str())
            .filter(|id| !USUAL.contains(id))
            .filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
            .map(|id| format!("--{}", id.replace('_', "-")))
            .collect();
        Ok(options)
    }

    /// How many workers to run; never 0.
    pub fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.concurrency.map_or_else(cores, |count| count as usize).max(1)
    }

    /// How long draining may take.
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s)
    }

    /// The path of the configuration for messages.
    pub fn config_name(&self) -> String {
        self.config_path
            .as_ref()
            .map_or_else(|| "--config-yaml".to_owned(), |path| path.display().to_string())
    }

    /// The options as `/server_info` shows them.
    pub fn to_json(&self) -> serde_json::Value {
        let text =
            |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
        serde_json::json!({
            "base_id": self.ignored.base_id.unwrap_or(0).to_string(),
            "concurrency": self.workers(),
            "config_path": text(&self.config_path),
            "config_yaml": self.config_yaml.clone().unwrap_or_default(),
            "allow_unknown_static_fields": self.allow_unknown_static_fields,
            "reject_unknown_dynamic_fields": self.reject_unknown_dynamic_fields,
            "ignore_unknown_dynamic_fields": self.ignore_unknown_dynamic_fields,
            "admin_address_path": text(&self.admin_address_path),
            "local_address_ip_version": match self.local_address_ip_version { IpVersion::V4 => "v4", IpVersion::V6 => "v6" },
            "log_level": self.log_level.name(),
            "component_log_level": self.component_log_level,
            "log_format": self.log_format,
            "log_format_escaped": self.log_format_escaped,
            "log_path": text(&self.log_path),
            "service_cluster": self.service_cluster,
            "service_node": self.service_node,
            "service_zone": self.service_zone,
            "file_flush_interval": proto_seconds(self.file_flush_interval_msec),
            "file_flush_min_size": self.file_flush_min_size_kb,
            "drain_time": format!("{}s", self.drain_time_s),
            "drain_strategy": match self.drain_strategy { DrainStrategy::Gradual => "Gradual", DrainStrategy::Immediate => "Immediate" },
            "parent_shutdown_time": format!("{}s", self.parent_shutdown_time_s),
            "mode": match self.mode { Mode::Serve => "Serve", Mode::Validate => "Validate", Mode::InitOnly => "InitOnly" },
            "disable_hot_restart": true,
            "restart_epoch": self.ignored.restart_epoch.unwrap_or(0),
            "cpuset_threads": self.ignored.cpuset_threads,
            "base_id_path": self.ignored.base_id_path.clone().unwrap_or_default(),
            "use_dynamic_base_id": self.ignored.use_dynamic_base_id,
            "skip_hot_restart_on_no_parent": self.ignored.skip_hot_restart_on_no_parent,
            "skip_hot_restart_parent_stats": self.ignored.skip_hot_restart_parent_stats,
            "enable_mutex_tracing": self.ignored.enable_mutex_tracing,
            "enable_core_dump": self.ignored.enable_core_dump,
            "enable_fine_grain_logging": self.ignored.enable_fine_grain_logging,
            "log_stacktrace_single_entry": self.ignored.log_stacktrace_single_entry,
            "skip_deprecated_logs": self.ignored.skip_deprecated_logs,
            "disabled_extensions": [],
            "stats_tag": self.stats_tag,
        })
    }
}

/// Milliseconds as proto3 JSON writes a duration: no fraction, or one of three digits.
fn proto_seconds(milliseconds: u64) -> String {
    match (milliseconds / 1000, milliseconds % 1000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, rest) => format!("{seconds}.{rest:03}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::parse_from_args([&["underpass"], arguments].concat())
    }

    #[test]
    fn envoys_usual_command_line_is_understood() {
        let line =
            ["-c", "x.yaml", "--concurrency", "2", "-l", "info", "--base-id", "7", "--disable-hot-restart"];
        let options = parse(&line).unwrap();
        assert_eq!((options.workers(), options.config_name()), (2, "x.yaml".to_owned()));
        assert!(options.ignored_options.is_empty());
    }

    #[test]
    fn an_option_without_effect_is_named() {
        let options = parse(&["--restart-epoch", "1", "--enable-core-dump"]).unwrap();
        assert_eq!(options.ignored_options, ["--restart-epoch", "--enable-core-dump"]);
    }

    #[test]
    fn server_info_names_every_option_that_was_given() {
        let shown = parse(&["--enable-core-dump", "--drain-time-s", "7"]).unwrap().to_json();
        assert_eq!((&shown["enable_core_dump"], &shown["drain_time"]), (&true.into(), &"7s".into()));
    }

    #[test]
    fn an_unknown_option_is_named_in_the_error() {
        assert!(parse(&["--no-such-flag"]).unwrap_err().to_string().contains("--no-such-flag"));
    }

    #[test]
    fn no_workers_means_one_and_too_many_are_refused() {
        assert_eq!(parse(&["--concurrency", "0"]).unwrap().workers(), 1);
        assert!(parse(&["--concurrency", "99999999999"]).unwrap_err().to_string().contains("99999999999"));
    }
}
