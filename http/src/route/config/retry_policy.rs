//! When and how a request is tried again.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    config::{NonEmptyString, PositiveDuration, RawTypedConfig},
    matcher::HeaderMatcher,
};

/// `envoy.config.route.v3.RetryPolicy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// The conditions, with commas between them.
    pub retry_on: String,
    /// How often; once unless set.
    pub num_retries: Option<u32>,
    /// How long each attempt may take.
    pub per_try_timeout: Option<Duration>,
    /// How long the upstream may be silent in each attempt.
    pub per_try_idle_timeout: Option<Duration>,
    /// Which hosts are passed over in a retry.
    pub retry_host_predicate: Vec<RetryHostPredicate>,
    /// How often another host is looked for.
    pub host_selection_retry_max_attempts: i64,
    /// For the condition `retriable-status-codes`.
    pub retriable_status_codes: Vec<u32>,
    /// How long to wait between attempts.
    pub retry_back_off: Option<RetryBackOff>,
    /// How long to wait where the upstream says so.
    pub rate_limited_retry_back_off: Option<RateLimitedRetryBackOff>,
    /// For the condition `retriable-headers`: headers of the answer.
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Only requests with such a header are retried.
    pub retriable_request_headers: Vec<HeaderMatcher>,
}

/// `RetryPolicy.RetryHostPredicate`.
#[derive(Debug, Clone, Deserialize)]
pub struct RetryHostPredicate {
    /// What the user calls it.
    pub name: NonEmptyString,
    /// What it is.
    pub typed_config: Option<RawTypedConfig>,
}

/// `RetryPolicy.RetryBackOff`: exponential, with full jitter.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct RetryBackOff {
    /// The longest first wait.
    pub base_interval: PositiveDuration,
    /// The longest wait; ten times the first one unless set.
    pub max_interval: Option<PositiveDuration>,
}

/// `RetryPolicy.RateLimitedRetryBackOff`.
#[derive(Debug, Clone, Deserialize)]
pub struct RateLimitedRetryBackOff {
    /// Headers of the answer that say how long to wait; the first that is there counts.
    pub reset_headers: Vec<ResetHeader>,
    /// The longest wait; 300 seconds unless set.
    pub max_interval: Option<PositiveDuration>,
}

/// `RetryPolicy.ResetHeader`.
#[derive(Debug, Clone, Deserialize)]
pub struct ResetHeader {
    /// The header.
    pub name: NonEmptyString,
    /// What its number is.
    #[serde(default)]
    pub format: ResetHeaderFormat,
}

/// `RetryPolicy.ResetHeaderFormat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResetHeaderFormat {
    /// Seconds from now.
    #[default]
    Seconds,
    /// Seconds since 1970.
    UnixTimestamp,
}
