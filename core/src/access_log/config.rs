//! Entries of `access_log` in listeners and filters (`envoy/config/accesslog/v3/accesslog.proto`).

use serde::Deserialize;

use super::{AccessLogType, AccessLoggerConfig};
use crate::{
    config::{FractionalPercent, NonEmptyString, RuntimeUInt32, TypedConfig},
    matcher::{HeaderMatcher, MetadataMatcher},
    response_flags::ResponseFlag,
};

/// `envoy.config.accesslog.v3.AccessLog`: where to log, and which streams.
#[derive(Debug, Clone, Deserialize)]
pub struct AccessLog {
    /// What the user calls it.
    #[serde(default)]
    pub name: String,
    /// Which streams are logged; without it, all of them.
    #[serde(default)]
    pub filter: Option<AccessLogFilter>,
    /// The logger.
    pub typed_config: TypedConfig<dyn AccessLoggerConfig>,
}

/// `envoy.config.accesslog.v3.AccessLogFilter`: a condition on a stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFilter {
    /// The HTTP status; 0 where there is none.
    StatusCodeFilter(ComparedTo),
    /// How long the stream took, in milliseconds.
    DurationFilter(ComparedTo),
    /// Not a health check.
    NotHealthCheckFilter(Unconditional),
    /// A request that is traced.
    TraceableFilter(Unconditional),
    /// A share of all streams.
    RuntimeFilter(RuntimeFilter),
    /// All of several conditions.
    AndFilter(Several),
    /// One of several conditions.
    OrFilter(Several),
    /// A header of the request.
    HeaderFilter(HeaderFilter),
    /// A response flag.
    ResponseFlagFilter(ResponseFlagFilter),
    /// Dynamic metadata.
    MetadataFilter(MetadataFilter),
    /// The moment of the stream's life.
    LogTypeFilter(LogTypeFilter),
}

/// `StatusCodeFilter` and `DurationFilter`, which differ in what they compare.
#[derive(Debug, Clone, Deserialize)]
pub struct ComparedTo {
    /// How, and with what.
    pub comparison: ComparisonFilter,
}

/// `envoy.config.accesslog.v3.ComparisonFilter`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ComparisonFilter {
    /// How the two are compared.
    pub op: ComparisonOp,
    /// What is compared with.
    pub value: RuntimeUInt32,
}

/// `ComparisonFilter.Op`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ComparisonOp {
    /// Equal.
    #[default]
    Eq,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Not equal.
    Ne,
}

/// `NotHealthCheckFilter` and `TraceableFilter`, which have nothing to say.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Unconditional {}

/// `envoy.config.accesslog.v3.RuntimeFilter`.
#[derive(Debug, Clone, Deserialize)]
pub struct RuntimeFilter {
    /// The runtime key that overrides the numerator of `percent_sampled`.
    pub runtime_key: NonEmptyString,
    /// Which share of the streams.
    #[serde(default)]
    pub percent_sampled: FractionalPercent,
    /// Draws lots anew for each stream; otherwise all logs of one stream id decide alike.
    #[serde(default)]
    pub use_independent_randomness: bool,
}

/// `AndFilter` and `OrFilter`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Several {
    /// The conditions.
    pub filters: Vec<AccessLogFilter>,
}

/// `envoy.config.accesslog.v3.HeaderFilter`.
#[derive(Debug, Clone, Deserialize)]
pub struct HeaderFilter {
    /// The header, and what it has to be.
    pub header: HeaderMatcher,
}

/// `envoy.config.accesslog.v3.ResponseFlagFilter`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResponseFlagFilter {
    /// One of these has to be set; if there is none here, any flag will do.
    pub flags: Vec<FlagName>,
}

/// A response flag by its short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FlagName(pub ResponseFlag);

impl TryFrom<String> for FlagName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let flag = ResponseFlag::ALL.iter().find(|flag| flag.short_name() == name);
        flag.map(|flag| Self(*flag)).ok_or_else(|| {
            let known: Vec<&str> = ResponseFlag::ALL.iter().map(|flag| flag.short_name()).collect();
            format!("{name:?} is no response flag; known are {}", known.join(", "))
        })
    }
}

/// `envoy.config.accesslog.v3.MetadataFilter`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MetadataFilter {
    /// Which value, and what it has to be.
    pub matcher: Option<MetadataMatcher>,
    /// The outcome for a value that is not there; true unless said otherwise.
    pub match_if_key_not_found: Option<bool>,
}

/// `envoy.config.accesslog.v3.LogTypeFilter`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LogTypeFilter {
    /// The types of logs that are written.
    pub types: Vec<AccessLogType>,
    /// Makes it the types that are not written.
    pub exclude: bool,
}
