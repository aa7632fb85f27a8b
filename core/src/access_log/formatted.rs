//! What loggers that print lines have in common: a format and a sink.

use std::{path::Path, sync::Arc};

use super::{AccessLogSink, AccessLogger};
use crate::{
    build_context::{BuildContext, BuildError},
    client_connection::system_message,
    config::SubstitutionFormatString,
    formatter::{FormatContext, FormatError, LogFormat, Operators},
};

/// An access logger that prints each stream in a format and gives the text to a sink.
pub struct FormattedLog {
    format: LogFormat,
    sink: Arc<dyn AccessLogSink>,
}

impl FormattedLog {
    /// A logger whose sink is the file at `path`; `/dev/stdout` and `/dev/stderr` are the process's own output.
    ///
    /// # Errors
    /// If the file cannot be opened; the text is Envoy's.
    pub fn open(path: &Path, format: LogFormat, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let failed = |error: std::io::Error| {
            let reason = system_message(&error);
            BuildError::new(format!("unable to open file '{}': {reason}", path.display()))
        };
        let sink = context.server.access_logs.open(path).map_err(failed)?;
        Ok(Self { format, sink })
    }
}

impl AccessLogger for FormattedLog {
    fn log(&self, context: &FormatContext<'_>) {
        self.sink.write(self.format.format(context));
    }
}

/// The format that a logger's field `log_format` describes; without one, Envoy's default format.
///
/// # Errors
/// What is wrong with the format, with the path of the field.
pub fn log_format(
    config: Option<&SubstitutionFormatString>,
    context: &BuildContext<'_>,
) -> Result<LogFormat, BuildError> {
    parse_format("log_format", context, |operators| match config {
        Some(config) => LogFormat::from_config(config, operators),
        None => LogFormat::default_of_access_logs(operators),
    })
}

/// Parses a format with the operators that are linked; errors are about `field`.
///
/// # Errors
/// What is wrong with the format, with the path of the field.
pub fn parse_format(
    field: &str,
    context: &BuildContext<'_>,
    parse: impl FnOnce(&Operators) -> Result<LogFormat, FormatError>,
) -> Result<LogFormat, BuildError> {
    let operators = Operators::linked().map_err(|error| BuildError::new(error.to_string()))?;
    parse(&operators).map_err(|error| context.error_at(field, error.to_string()))
}
