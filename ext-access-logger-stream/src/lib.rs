//! `envoy.access_loggers.stdout` and `envoy.access_loggers.stderr`: write access logs to the output of the process.
//!
//! For containers, whose runtime collects what they print. The lines are those of `envoy.access_loggers.file`; without a
//! format they are Envoy's default.
//!
//! ```yaml
//! access_log:
//! - name: envoy.access_loggers.stdout
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
//!     log_format: {json_format: {from: "%DOWNSTREAM_REMOTE_ADDRESS%", to: "%UPSTREAM_HOST%"}}
//! ```
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/access_loggers/stream/v3/stream.proto>

use std::{path::Path, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    access_log::{AccessLogger, AccessLoggerConfig, FormattedLog, log_format},
    build_context::{BuildContext, BuildError},
    config::SubstitutionFormatString,
    extension,
};

/// `envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StdoutAccessLog {
    /// How a stream is printed.
    pub log_format: Option<SubstitutionFormatString>,
}

/// `envoy.extensions.access_loggers.stream.v3.StderrAccessLog`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StderrAccessLog {
    /// How a stream is printed.
    pub log_format: Option<SubstitutionFormatString>,
}

/// Writes access logs to standard output.
#[extension(
    name = "envoy.access_loggers.stdout",
    type_url = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
)]
impl AccessLoggerConfig for StdoutAccessLog {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn AccessLogger>, BuildError> {
        build("/dev/stdout", self.log_format.as_ref(), context)
    }
}

/// Writes access logs to standard error.
#[extension(
    name = "envoy.access_loggers.stderr",
    type_url = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog"
)]
impl AccessLoggerConfig for StderrAccessLog {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn AccessLogger>, BuildError> {
        build("/dev/stderr", self.log_format.as_ref(), context)
    }
}

fn build(
    output: &str,
    format: Option<&SubstitutionFormatString>,
    context: &BuildContext<'_>,
) -> Result<Arc<dyn AccessLogger>, BuildError> {
    let format = log_format(format, context)?;
    Ok(Arc::new(FormattedLog::open(Path::new(output), format, context)?))
}

#[cfg(test)]
mod tests {
    use underpass_core::{
        access_log::AccessLogType,
        address::Address,
        formatter::FormatContext,
        testing::{self, TestServer},
    };

    use super::*;

    fn logger(server: &TestServer, message: &str, format: &str) -> Result<Arc<dyn AccessLogger>, String> {
        let yaml = format!(
            "'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.{message}\n{format}"
        );
        let config = testing::read::<dyn AccessLoggerConfig>(&yaml)?;
        server.build("", |context| config.build(context)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_logger_writes_to_its_own_output() {
        for (message, path) in [("StdoutAccessLog", "/dev/stdout"), ("StderrAccessLog", "/dev/stderr")] {
            let server = TestServer::default();
            let format = r#"log_format: {text_format_source: {inline_string: "%BYTES_SENT%\n"}}"#;
            let logger = logger(&server, message, format).unwrap();
            let info = server.stream(Address::internal_client(), Address::internal("inner", ""));
            logger.log(&FormatContext::new(&info, AccessLogType::NotSet));
            assert_eq!(server.logged(path), ["0\n"], "{message}");
        }
    }

    #[test]
    fn a_wrong_format_is_said_with_its_place() {
        let error = logger(&TestServer::default(), "StdoutAccessLog", "log_format: {text_format: '%NOPE%'}");
        insta::assert_snapshot!(error.err().expect("there is no such operator"), @"log_format: Not supported field in StreamInfo: NOPE (at position 0 of `%NOPE%`)");
    }
}
