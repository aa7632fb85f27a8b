//! The messages of the filter (`envoy/extensions/filters/http/fault/v3/fault.proto` and
//! `envoy/extensions/filters/common/fault/v3/fault.proto`).

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    config::{FractionalPercent, PositiveDuration, Ranged, Struct, required_one_of},
    matcher::HeaderMatcher,
};

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HttpFault {
    /// Delays requests.
    pub delay: Option<FaultDelay>,
    /// Answers requests with an error.
    pub abort: Option<FaultAbort>,
    /// Only requests to this cluster.
    pub upstream_cluster: String,
    /// Only requests with these headers.
    pub headers: Vec<HeaderMatcher>,
    /// Only requests of these (`x-envoy-downstream-service-node`).
    pub downstream_nodes: Vec<String>,
    /// How many requests may have faults at a time.
    pub max_active_faults: Option<u32>,
    /// Slows down answers.
    pub response_rate_limit: Option<FaultRateLimit>,
    /// Runtime keys, where they are not to be the usual ones.
    pub delay_percent_runtime: String,
    /// As above.
    pub abort_percent_runtime: String,
    /// As above.
    pub delay_duration_runtime: String,
    /// As above.
    pub abort_http_status_runtime: String,
    /// As above.
    pub max_active_faults_runtime: String,
    /// As above.
    pub response_rate_limit_percent_runtime: String,
    /// As above.
    pub abort_grpc_status_runtime: String,
    /// Whether it does without stats by downstream cluster.
    pub disable_downstream_cluster_stats: bool,
    /// Dynamic metadata of requests that are delayed or aborted.
    pub filter_metadata: Option<Struct>,
}

/// `FaultDelay`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFaultDelay")]
pub struct FaultDelay {
    /// How long.
    pub delay: Source<Duration>,
    /// How many requests.
    pub percentage: FractionalPercent,
}

/// `FaultAbort`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFaultAbort")]
pub struct FaultAbort {
    /// With which status.
    pub status: Source<Abort>,
    /// How many requests.
    pub percentage: FractionalPercent,
    /// With which body.
    pub response_body: String,
}

/// `FaultRateLimit`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFaultRateLimit")]
pub struct FaultRateLimit {
    /// KiB a second.
    pub kbps: Source<u64>,
    /// How many answers.
    pub percentage: FractionalPercent,
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<T> {
    /// Here.
    Fixed(T),
    /// In a header of the request.
    Header,
}

/// The status of an aborted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status.
    Http(u16),
    /// The status of a gRPC request; of another, it is 200.
    Grpc(u32),
}

/// A message without fields.
#[derive(Deserialize)]
struct FromHeader {}

#[derive(Deserialize)]
struct RawFaultDelay {
    #[serde(default)]
    fixed_delay: Option<PositiveDuration>,
    #[serde(default)]
    header_delay: Option<FromHeader>,
    #[serde(default)]
    percentage: FractionalPercent,
}

#[derive(Deserialize)]
struct RawFaultAbort {
    #[serde(default)]
    http_status: Option<Ranged<u16, 200, 599>>,
    #[serde(default)]
    grpc_status: Option<u32>,
    #[serde(default)]
    header_abort: Option<FromHeader>,
    #[serde(default)]
    percentage: FractionalPercent,
    #[serde(default)]
    response_body: String,
}

#[derive(Deserialize)]
struct RawFaultRateLimit {
    #[serde(default)]
    fixed_limit: Option<FixedLimit>,
    #[serde(default)]
    header_limit: Option<FromHeader>,
    #[serde(default)]
    percentage: FractionalPercent,
}

#[derive(Deserialize)]
struct FixedLimit {
    limit_kbps: Ranged<u64, 1, { u64::MAX }>,
}

impl TryFrom<RawFaultDelay> for FaultDelay {
    type Error = String;

    fn try_from(raw: RawFaultDelay) -> Result<Self, String> {
        let set = [("fixed_delay", raw.fixed_delay.is_some()), ("header_delay", raw.header_delay.is_some())];
        required_one_of("fault_delay_secifier", &set)?;
        let delay = raw.fixed_delay.map_or(Source::Header, |delay| Source::Fixed(delay.get()));
        Ok(Self { delay, percentage: raw.percentage })
    }
}

impl TryFrom<RawFaultAbort> for FaultAbort {
    type Error = String;

    fn try_from(raw: RawFaultAbort) -> Result<Self, String> {
        let set = [
            ("http_status", raw.http_status.is_some()),
            ("grpc_status", raw.grpc_status.is_some()),
            ("header_abort", raw.header_abort.is_some()),
        ];
        required_one_of("error_type", &set)?;
        let status = match (raw.http_status, raw.grpc_status) {
            (Some(status), _) => Source::Fixed(Abort::Http(status.get())),
            (None, Some(status)) => Source::Fixed(Abort::Grpc(status)),
            (None, None) => Source::Header,
        };
        Ok(Self { status, percentage: raw.percentage, response_body: raw.response_body })
    }
}

impl TryFrom<RawFaultRateLimit> for FaultRateLimit {
    type Error = String;

    fn try_from(raw: RawFaultRateLimit) -> Result<Self, String> {
        let set = [("fixed_limit", raw.fixed_limit.is_some()), ("header_limit", raw.header_limit.is_some())];
        required_one_of("limit_type", &set)?;
        let kbps = raw.fixed_limit.map_or(Source::Header, |limit| Source::Fixed(limit.limit_kbps.get()));
        Ok(Self { kbps, percentage: raw.percentage })
    }
}
