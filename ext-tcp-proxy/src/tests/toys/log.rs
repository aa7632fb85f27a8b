//! An access log that a test can read.

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    access_log::{AccessLogSink, AccessLogger, AccessLoggerConfig},
    build_context::{BuildContext, BuildError},
    extension,
    formatter::FormatContext,
};

/// An access logger for tests: one line with moment, flags, attempts, bytes received and sent.
#[derive(Debug, Deserialize)]
struct TestLog {}

#[extension(name = "test.log", type_url = "type.googleapis.com/test.Log")]
impl AccessLoggerConfig for TestLog {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn AccessLogger>, BuildError> {
        let sink = context
            .server
            .access_logs
            .open("log".as_ref())
            .map_err(|error| BuildError::new(error.to_string()))?;
        Ok(Arc::new(TestLogger(sink)))
    }
}

struct TestLogger(Arc<dyn AccessLogSink>);

impl AccessLogger for TestLogger {
    fn log(&self, context: &FormatContext<'_>) {
        let info = context.info;
        self.0.write(format!(
            "{} {} attempts={} rx={} tx={}",
            context.access_log_type.name(),
            info.flags.get(),
            info.upstream.attempts.get(),
            info.bytes_received.get(),
            info.bytes_sent.get(),
        ));
    }
}
