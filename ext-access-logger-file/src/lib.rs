//! `envoy.access_loggers.file`: writes access logs to files.
//!
//! One line a stream, in a format of the user's, to a path. Who names the same path shares the file. The line is
//! printed on the worker, queued in memory, and written by a thread of the engine, so that a slow disk delays nobody.
//!
//! ```yaml
//! access_log:
//! - name: envoy.access_loggers.file
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
//!     path: /var/log/underpass/access.log
//!     log_format:
//!       text_format_source: {inline_string: "%START_TIME% %DOWNSTREAM_REMOTE_ADDRESS% -> %UPSTREAM_HOST%\n"}
//! ```
//!
//! A text format ends its line itself; a JSON format is one object a line. Without a format, the line is Envoy's default.
//! `/dev/stdout` and `/dev/stderr` are the process's own output.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>

use std::{path::Path, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    access_log::{AccessLogger, AccessLoggerConfig, FormattedLog, log_format, parse_format},
    build_context::{BuildContext, BuildError},
    config::{NonEmptyString, Struct, SubstitutionFormatString},
    extension,
    formatter::LogFormat,
};

/// `envoy.extensions.access_loggers.file.v3.FileAccessLog`; at most one of its formats is set.
#[derive(Debug, Clone, Deserialize)]
pub struct FileAccessLog {
    /// The file.
    pub path: NonEmptyString,
    /// How a stream is printed.
    #[serde(default)]
    pub log_format: Option<SubstitutionFormatString>,
    /// A text format (deprecated in favour of `log_format.text_format_source`).
    #[serde(default)]
    pub format: Option<String>,
    /// A JSON format (deprecated in favour of `log_format.json_format`).
    #[serde(default)]
    pub json_format: Option<Struct>,
    /// The same under another name; all JSON formats print numbers as numbers now.
    #[serde(default)]
    pub typed_json_format: Option<Struct>,
}

/// Writes access logs to files.
#[extension(
    name = "envoy.access_loggers.file",
    type_url = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
)]
impl AccessLoggerConfig for FileAccessLog {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn AccessLogger>, BuildError> {
        let format = self.parse_format(context)?;
        let log = FormattedLog::open(Path::new(self.path.as_str()), format, context);
        Ok(Arc::new(log.map_err(|error| error.or_at(&context.path().field("path")))?))
    }
}

impl FileAccessLog {
    fn parse_format(&self, context: &BuildContext<'_>) -> Result<LogFormat, BuildError> {
        let json = |field, format| {
            parse_format(field, context, |operators| LogFormat::json(format, false, operators))
        };
        match self {
            // An empty text is no format, as in Envoy.
            Self { format: Some(format), .. } if !format.is_empty() => {
                parse_format("format", context, |operators| LogFormat::text(format, false, operators))
            }
            Self { json_format: Some(format), .. } => json("json_format", format),
            Self { typed_json_format: Some(format), .. } => json("typed_json_format", format),
            _ => log_format(self.log_format.as_ref(), context),
        }
    }
}

#[cfg(test)]
mod tests;
