//! Access logs: at the end of a connection, however it comes about, and at moments before it.

use std::{convert::Infallible, time::Duration};

use underpass_core::{
    access_log::{AccessLogType, AccessLogs},
    build_context::{BuildContext, BuildError},
    formatter::FormatContext,
    stream_info::StreamInfo,
};

use crate::config::{AccessLogOptions, TcpProxy};

/// Where and when connections are logged.
pub(crate) struct LogSettings {
    logs: AccessLogs,
    /// How often, while a connection lives.
    pub(crate) interval: Option<Duration>,
    on_connected: bool,
    on_start: bool,
}

impl LogSettings {
    pub(crate) fn build(
        config: &TcpProxy,
        logs: AccessLogs,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let old = [
            ("flush_access_log_on_connected", config.flush_access_log_on_connected),
            ("access_log_flush_interval", config.access_log_flush_interval.is_some()),
        ];
        for (field, is_set) in old {
            if is_set && config.access_log_options.is_some() {
                // Envoy's words.
                let message = format!("Only one of {field} or access_log_options can be specified.");
                return Err(context.error_at(field, message));
            }
            if is_set {
                context.warn(context.error_at(field, format!("deprecated: use access_log_options.{field}")));
            }
        }
        let options = config.access_log_options.clone().unwrap_or(AccessLogOptions {
            access_log_flush_interval: config.access_log_flush_interval,
            flush_access_log_on_connected: config.flush_access_log_on_connected,
            flush_access_log_on_start: false,
        });
        Ok(Self {
            interval: options.access_log_flush_interval.filter(|_| !logs.is_empty()),
            on_connected: options.flush_access_log_on_connected,
            on_start: options.flush_access_log_on_start,
            logs,
        })
    }

    /// The connection starts.
    pub(crate) fn start(&self, info: &StreamInfo) {
        if self.on_start {
            self.write(info, AccessLogType::TcpConnectionStart);
        }
    }

    /// The connection ends: because it is done, or because somebody ends it.
    pub(crate) fn end(&self, info: &StreamInfo) {
        info.complete();
        self.write(info, AccessLogType::TcpConnectionEnd);
    }

    pub(crate) fn connected(&self, info: &StreamInfo) {
        if self.on_connected {
            self.write(info, AccessLogType::TcpUpstreamConnected);
        }
    }

    /// Logs the connection again and again, without end.
    pub(crate) async fn periodically(&self, info: &StreamInfo, interval: Duration) -> Infallible {
        loop {
            tokio::time::sleep(interval).await;
            self.write(info, AccessLogType::TcpPeriodic);
        }
    }

    fn write(&self, info: &StreamInfo, moment: AccessLogType) {
        self.logs.log(&FormatContext::new(info, moment));
    }
}
