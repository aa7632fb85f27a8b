//! The messages that say where a control plane is and how to talk to it.
//!
//! `envoy/config/core/v3/config_source.proto` and `grpc_service.proto`.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::config::{ApiVersion, HeaderValue, NonEmptyString, PositiveDuration};

/// `envoy.config.core.v3.ApiConfigSource`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ApiConfigSource {
    /// Which form of the protocol.
    pub api_type: ApiType,
    /// The version of the protocol; there is but one, whatever is said.
    pub transport_api_version: ApiVersion,
    /// For REST only; refused with anything else.
    pub cluster_names: Vec<String>,
    /// The control plane; of several, the first is used.
    pub grpc_services: Vec<GrpcService>,
    /// For REST only.
    pub refresh_delay: Option<Duration>,
    /// For REST only.
    pub request_timeout: Option<PositiveDuration>,
    /// How many requests may be sent.
    pub rate_limit_settings: Option<RateLimitSettings>,
    /// Whether the node stands in the first request of a stream only.
    pub set_node_on_first_message_only: bool,
}

/// `ApiConfigSource.ApiType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ApiType {
    #[default]
    DeprecatedAndUnavailableDoNotUse,
    Rest,
    Grpc,
    DeltaGrpc,
    AggregatedGrpc,
    AggregatedDeltaGrpc,
}

/// `envoy.config.core.v3.GrpcService`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GrpcService {
    /// A cluster of this process. Google's own client is not built in.
    pub envoy_grpc: Option<EnvoyGrpc>,
    /// How long a call may take. Streams of configuration have no end, so it does not count for them, as in Envoy.
    pub timeout: Option<Duration>,
    /// Headers of the stream.
    pub initial_metadata: Vec<HeaderValue>,
}

/// `GrpcService.EnvoyGrpc`.
#[derive(Debug, Clone, Deserialize)]
pub struct EnvoyGrpc {
    /// The cluster.
    pub cluster_name: NonEmptyString,
    /// `:authority`; the cluster's name if it is empty.
    #[serde(default)]
    pub authority: String,
    /// How to come back after a failure.
    #[serde(default)]
    pub retry_policy: Option<RetryPolicy>,
    /// How large a message may be that is received; 0 is without a limit.
    #[serde(default)]
    pub max_receive_message_length: Option<u32>,
    /// Whether no `x-envoy-*` headers are sent. None are.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted because it is always so")]
    pub skip_envoy_headers: bool,
}

/// `envoy.config.core.v3.RetryPolicy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// How long to wait.
    pub retry_back_off: Option<BackoffStrategy>,
    /// Has no meaning here: streams are opened anew for ever.
    pub num_retries: Option<u32>,
}

/// `envoy.config.core.v3.BackoffStrategy`.
#[derive(Debug, Clone, Deserialize)]
pub struct BackoffStrategy {
    /// The first bound.
    pub base_interval: PositiveDuration,
    /// The last; ten times the first if it is not set.
    #[serde(default)]
    pub max_interval: Option<PositiveDuration>,
}

/// `envoy.config.core.v3.RateLimitSettings`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RateLimitSettings {
    /// How many may be sent at once; 100 if it is not set.
    pub max_tokens: Option<u32>,
    /// How many more in a second; 10 if it is not set.
    pub fill_rate: Option<f64>,
}
