//! Access loggers: they receive what is known of a stream when it is done, and at moments in between.

mod config;
mod filter;
mod formatted;
mod loggers;

pub use self::{
    config::{
        AccessLog, AccessLogFilter, ComparedTo, ComparisonFilter, ComparisonOp, FlagName, HeaderFilter,
        LogTypeFilter, MetadataFilter, ResponseFlagFilter, RuntimeFilter, Several, Unconditional,
    },
    formatted::{FormattedLog, log_format, parse_format},
    loggers::AccessLogs,
};

use std::{fmt, path::Path, sync::Arc};

use serde::Deserialize;

use crate::{
    build_context::{BuildContext, BuildError},
    extension::Category,
    formatter::FormatContext,
};

/// The configuration of an access logger.
#[typetag::deserialize(tag = "@type")]
pub trait AccessLoggerConfig: fmt::Debug + Send + Sync {
    /// Builds the logger, once per version of the configuration.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn AccessLogger>, BuildError>;
}

impl Category for dyn AccessLoggerConfig {
    const NAME: &'static str = "access logger";
}

/// An access logger, shared by all workers. Its sink owns its queue: `log` never waits.
pub trait AccessLogger: Send + Sync {
    /// Takes note of a stream.
    fn log(&self, context: &FormatContext<'_>);
}

/// At which moment of a stream's life a log is written (`%ACCESS_LOG_TYPE%`); `envoy.data.accesslog.v3.AccessLogType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum AccessLogType {
    /// Not said.
    #[default]
    NotSet,
    /// A TCP proxy accepted a connection.
    TcpConnectionStart,
    /// A TCP proxy connected upstream.
    TcpUpstreamConnected,
    /// A TCP connection lives on.
    TcpPeriodic,
    /// A TCP connection is done.
    TcpConnectionEnd,
    /// A request arrived.
    DownstreamStart,
    /// A request is being served.
    DownstreamPeriodic,
    /// A request is done.
    DownstreamEnd,
    /// An upstream stream was opened.
    UpstreamPoolReady,
    /// An upstream request is being served.
    UpstreamPeriodic,
    /// An upstream request is done.
    UpstreamEnd,
    /// A tunnel was established.
    DownstreamTunnelSuccessfullyEstablished,
    /// A UDP session got its tunnel.
    UdpTunnelUpstreamConnected,
    /// A UDP session lives on.
    UdpPeriodic,
    /// A UDP session is done.
    UdpSessionEnd,
}

impl AccessLogType {
    /// The name that `%ACCESS_LOG_TYPE%` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSet => "NotSet",
            Self::TcpConnectionStart => "TcpConnectionStart",
            Self::TcpUpstreamConnected => "TcpUpstreamConnected",
            Self::TcpPeriodic => "TcpPeriodic",
            Self::TcpConnectionEnd => "TcpConnectionEnd",
            Self::DownstreamStart => "DownstreamStart",
            Self::DownstreamPeriodic => "DownstreamPeriodic",
            Self::DownstreamEnd => "DownstreamEnd",
            Self::UpstreamPoolReady => "UpstreamPoolReady",
            Self::UpstreamPeriodic => "UpstreamPeriodic",
            Self::UpstreamEnd => "UpstreamEnd",
            Self::DownstreamTunnelSuccessfullyEstablished => "DownstreamTunnelSuccessfullyEstablished",
            Self::UdpTunnelUpstreamConnected => "UdpTunnelUpstreamConnected",
            Self::UdpPeriodic => "UdpPeriodic",
            Self::UdpSessionEnd => "UdpSessionEnd",
        }
    }
}

/// Opens the files that access loggers write to; one writer for all who name the same path.
pub trait AccessLogManager: Send + Sync {
    /// A sink for a path (`/dev/stdout` and `/dev/stderr` included). The file is reopened on USR1 and on
    /// `/reopen_logs`. Fails if the file cannot be opened for appending.
    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn AccessLogSink>>;
}

/// A bounded queue in front of a file. Writing happens off the data path.
pub trait AccessLogSink: Send + Sync {
    /// Queues a complete line, its newline included. When the queue is full the line is dropped and counted.
    fn write(&self, line: String);
}
