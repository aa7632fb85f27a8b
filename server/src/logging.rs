//! The process's own log: Envoy's levels, component names and line format.
//!
//! A component is the `target` of a `tracing` event (`tracing::info!(target: "upstream", ...)`); its level can be set
//! apart from the others, on the command line and through `/logging`.

mod components;
mod pattern;

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

pub use components::COMPONENTS;
use pattern::Pattern;

/// Envoy's default for `--log-format`.
pub const DEFAULT_FORMAT: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// Envoy's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What a developer asks for.
    Debug,
    /// What an operator may want to read.
    Info,
    /// What an operator should look at.
    Warning,
    /// What failed.
    Error,
    /// What ends the process.
    Critical,
    /// Nothing.
    Off,
}

impl LogLevel {
    /// All levels, as `/logging` lists them.
    pub const ALL: [Self; 7] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical, Self::Off];

    /// Envoy's name of the level.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
            Self::Off => LevelFilter::OFF,
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let text = if text == "warn" { "warning" } else { text };
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// A word that is no level.
#[derive(Debug, thiserror::Error)]
#[error("unknown log level {0:?}; known: trace, debug, info, warning, error, critical, off")]
pub struct UnknownLevel(pub String);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `--component-log-level` is not a list of `name:level`.
    #[error("--component-log-level: {0:?} is not of the form component:level")]
    Form(String),
    /// A level that does not exist.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// A component that does not exist.
    #[error("unknown log component {0:?}; /logging lists those that exist")]
    Component(String),
    /// The log file cannot be opened.
    #[error("cannot open log file '{}': {error}", path.display())]
    File {
        /// `--log-path`.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The levels in force; `/logging` changes them.
pub struct Logging {
    levels: Mutex<Vec<(&'static str, LogLevel)>>,
    handle: Option<reload::Handle<Targets, Registry>>,
    file: Option<Arc<LogFile>>,
}

impl Logging {
    /// Sets the process's log up. Where a log is set up already (tests), levels are kept but change nothing.
    pub fn install(
        level: LogLevel,
        components: &str,
        format: &str,
        escaped: bool,
        path: Option<&Path>,
    ) -> Result<Self, LoggingError> {
        let mut levels: Vec<_> = COMPONENTS.iter().map(|name| (*name, level)).collect();
        for (name, level) in parse_components(components)? {
            let entry = levels.iter_mut().find(|(known, _)| *known == name);
            entry.ok_or(LoggingError::Component(name))?.1 = level;
        }
        let file = path.map(LogFile::open).transpose()?.map(Arc::new);
        let (filter, handle) = reload::Layer::new(targets(&levels));
        let writer = Writer(file.clone());
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Pattern::new(format, escaped))
            .with_writer(writer)
            .with_filter(filter);
        let installed = tracing_subscriber::registry().with(layer).try_init().is_ok();
        Ok(Self { levels: Mutex::new(levels), handle: installed.then_some(handle), file })
    }

    /// The level of every component, by name.
    pub fn levels(&self) -> Vec<(&'static str, LogLevel)> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the level of all components.
    pub fn set_all(&self, level: LogLevel) {
        self.change(|levels| levels.iter_mut().for_each(|entry| entry.1 = level));
    }

    /// Sets the level of some components; nothing changes if one of them does not exist.
    pub fn set(&self, changes: &[(String, LogLevel)]) -> Result<(), LoggingError> {
        if let Some((name, _)) = changes.iter().find(|(name, _)| !COMPONENTS.contains(&name.as_str())) {
            return Err(LoggingError::Component(name.clone()));
        }
        self.change(|levels| {
            for (name, level) in changes {
                levels.iter_mut().filter(|entry| entry.0 == name).for_each(|entry| entry.1 = *level);
            }
        });
        Ok(())
    }

    /// Opens the log file anew, after it was moved away.
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(&'static str, LogLevel)>)) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut levels);
        if let Some(handle) = &self.handle {
            // It fails only if the subscriber is gone, and then there is nothing to filter.
            let _ = handle.reload(targets(&levels));
        }
    }
}

/// Reads `upstream:debug,config:trace`.
pub fn parse_components(text: &str) -> Result<Vec<(String, LogLevel)>, LoggingError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|part| {
            let (name, level) = part.split_once(':').ok_or_else(|| LoggingError::Form(part.to_owned()))?;
            Ok((name.to_owned(), level.parse()?))
        })
        .collect()
}

fn targets(levels: &[(&'static str, LogLevel)]) -> Targets {
    // Libraries speak up only when something is wrong.
    let quiet = Targets::new().with_default(LevelFilter::WARN);
    quiet.with_targets(levels.iter().map(|(name, level)| (*name, level.filter())))
}

struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, LoggingError> {
        let open = Self::open_file(path);
        let file = open.map_err(|error| LoggingError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    fn open_file(path: &Path) -> io::Result<File> {
        File::options().create(true).append(true).open(path)
    }

    fn reopen(&self) {
        // If it cannot be opened, the old file goes on: better a log in the wrong place than none.
        if let Ok(file) = Self::open_file(&self.path) {
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        }
    }
}

/// Writes whole lines to the log file, or to standard error.
#[derive(Clone)]
struct Writer(Option<Arc<LogFile>>);

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(file) => file.file.lock().unwrap_or_else(PoisonError::into_inner).write(line),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_levels_are_read() {
        let levels = parse_components("upstream:debug,config:trace").unwrap();
        assert_eq!(levels, [("upstream".into(), LogLevel::Debug), ("config".into(), LogLevel::Trace)]);
        let wrong = parse_components("upstream").unwrap_err().to_string();
        assert_eq!(wrong, r#"--component-log-level: "upstream" is not of the form component:level"#);
        assert!(parse_components("upstream:loud").unwrap_err().to_string().contains("unknown log level"));
    }

    #[test]
    fn an_unknown_component_changes_nothing() {
        let logging = Logging::install(LogLevel::Info, "", DEFAULT_FORMAT, false, None).unwrap();
        let changes = [("main".to_owned(), LogLevel::Debug), ("nope".to_owned(), LogLevel::Debug)];
        assert!(logging.set(&changes).is_err());
        assert!(logging.levels().iter().all(|(_, level)| *level == LogLevel::Info));
    }
}
