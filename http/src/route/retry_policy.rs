//! When a request is tried again.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, PositiveDuration, RawTypedConfig},
    matcher::HeaderMatcher,
};

use super::config;

/// A route's retry policy.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The conditions.
    pub retry_on: RetryOn,
    /// How often.
    pub num_retries: u32,
    /// How long each attempt may take; `None` as the whole.
    pub per_try_timeout: Option<Duration>,
    /// How long the upstream may be silent in each attempt; `None` for ever.
    pub per_try_idle_timeout: Option<Duration>,
    /// Whether hosts that were tried are passed over.
    pub avoids_previous_hosts: bool,
    /// How often another host is looked for, after the first.
    pub host_selection_max_attempts: u32,
    /// For [`RetryOn::RETRIABLE_STATUS_CODES`].
    pub retriable_status_codes: Vec<u16>,
    /// For [`RetryOn::RETRIABLE_HEADERS`]: one of them in the answer is enough.
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Unless empty, only requests of which one of these matches are retried.
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// How long to wait between attempts; `None` for Envoy's default of 25 ms to 250 ms.
    pub back_off: Option<RetryBackOff>,
    /// Headers of the answer that say how long to wait; the first that is there counts.
    pub reset_headers: Vec<ResetHeader>,
    /// The longest such wait; a longer one is not waited for, the usual back-off is used.
    pub reset_max_interval: Duration,
}

/// Exponential, with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBackOff {
    /// The longest first wait.
    pub base_interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
}

/// A header of an answer that says how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetHeader {
    /// Its name.
    pub name: HeaderName,
    /// Whether its number counts from 1970, rather than from now; in seconds.
    pub since_epoch: bool,
}

/// A set of conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

impl RetryOn {
    /// `5xx`.
    pub const SERVER_ERROR: Self = Self(1);
    /// `gateway-error`.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// `connect-failure`.
    pub const CONNECT_FAILURE: Self = Self(1 << 2);
    /// `retriable-4xx`.
    pub const RETRIABLE_4XX: Self = Self(1 << 3);
    /// `refused-stream`.
    pub const REFUSED_STREAM: Self = Self(1 << 4);
    /// `cancelled`, a gRPC status.
    pub const GRPC_CANCELLED: Self = Self(1 << 5);
    /// `deadline-exceeded`, a gRPC status.
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 6);
    /// `resource-exhausted`, a gRPC status.
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 7);
    /// `unavailable`, a gRPC status.
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 8);
    /// `internal`, a gRPC status.
    pub const GRPC_INTERNAL: Self = Self(1 << 9);
    /// `retriable-status-codes`.
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 10);
    /// `reset`.
    pub const RESET: Self = Self(1 << 11);
    /// `retriable-headers`.
    pub const RETRIABLE_HEADERS: Self = Self(1 << 12);
    /// `envoy-ratelimited`.
    pub const ENVOY_RATE_LIMITED: Self = Self(1 << 13);
    /// `http3-post-connect-failure`.
    pub const HTTP3_POST_CONNECT_FAILURE: Self = Self(1 << 14);
    /// `reset-before-request`.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 15);

    const HTTP: &'static [(&'static str, Self)] = &[
        ("5xx", Self::SERVER_ERROR),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("envoy-ratelimited", Self::ENVOY_RATE_LIMITED),
        ("retriable-4xx", Self::RETRIABLE_4XX),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-status-codes", Self::RETRIABLE_STATUS_CODES),
        ("retriable-headers", Self::RETRIABLE_HEADERS),
        ("reset", Self::RESET),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("http3-post-connect-failure", Self::HTTP3_POST_CONNECT_FAILURE),
    ];
    const GRPC: &'static [(&'static str, Self)] = &[
        ("cancelled", Self::GRPC_CANCELLED),
        ("deadline-exceeded", Self::GRPC_DEADLINE_EXCEEDED),
        ("resource-exhausted", Self::GRPC_RESOURCE_EXHAUSTED),
        ("unavailable", Self::GRPC_UNAVAILABLE),
        ("internal", Self::GRPC_INTERNAL),
    ];

    /// The conditions of `x-envoy-retry-on`; unknown words do not count.
    pub fn parse(words: &str) -> Self {
        Self::parse_with(words, Self::HTTP)
    }

    /// The conditions of `x-envoy-retry-grpc-on`.
    pub fn parse_grpc(words: &str) -> Self {
        Self::parse_with(words, Self::GRPC)
    }

    fn parse_with(words: &str, known: &[(&str, Self)]) -> Self {
        let known = |word: &str| known.iter().find(|(name, _)| *name == word.trim()).map(|(_, one)| *one);
        words.split(',').filter_map(known).fold(Self::default(), |all, one| all | one)
    }

    /// Whether one of these conditions is among them.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for RetryOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl RetryPolicy {
    /// Builds the field `retry_policy` of what stands at `path`, if it is set.
    pub(super) fn build_optional(
        config: Option<&config::RetryPolicy>,
        path: &ConfigPath,
    ) -> Result<Option<Arc<Self>>, BuildError> {
        let build = |config| Self::build(config, &path.field("retry_policy")).map(Arc::new);
        config.map(build).transpose()
    }

    fn build(config: &config::RetryPolicy, path: &ConfigPath) -> Result<Self, BuildError> {
        let mut avoids_previous_hosts = false;
        for (index, predicate) in config.retry_host_predicate.iter().enumerate() {
            let kind = predicate.typed_config.as_ref().map(RawTypedConfig::type_name);
            if kind != Some("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate") {
                let path = path.field("retry_host_predicate").index(index);
                let message = "the only retry host predicate is \
                               envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
                return Err(BuildError::at(path, message));
            }
            avoids_previous_hosts = true;
        }
        let rate_limited = config.rate_limited_retry_back_off.as_ref();
        let reset_headers =
            rate_limited.map(|config| &config.reset_headers).into_iter().flatten().enumerate();
        let reset_header = |(index, header): (usize, &config::ResetHeader)| {
            let name = header.name.to_ascii_lowercase().parse().map_err(|_| {
                let path = path.field("rate_limited_retry_back_off").field("reset_headers").index(index);
                BuildError::at(path, format!("{:?} is no name of a header", header.name.as_str()))
            })?;
            Ok(ResetHeader { name, since_epoch: header.format == config::ResetHeaderFormat::UnixTimestamp })
        };
        let positive = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
        Ok(Self {
            retry_on: RetryOn::parse(&config.retry_on) | RetryOn::parse_grpc(&config.retry_on),
            num_retries: config.num_retries.unwrap_or(1),
            per_try_timeout: positive(config.per_try_timeout),
            per_try_idle_timeout: positive(config.per_try_idle_timeout),
            avoids_previous_hosts,
            host_selection_max_attempts: match config.host_selection_retry_max_attempts {
                0 => 1,
                number => u32::try_from(number).unwrap_or_default(),
            },
            retriable_status_codes: config
                .retriable_status_codes
                .iter()
                .filter_map(|code| u16::try_from(*code).ok())
                .collect(),
            retriable_headers: config.retriable_headers.clone(),
            retriable_request_headers: config.retriable_request_headers.clone(),
            back_off: config.retry_back_off.map(|config| back_off(config, path)).transpose()?,
            reset_headers: reset_headers.map(reset_header).collect::<Result<_, _>>()?,
            reset_max_interval: rate_limited
                .and_then(|config| config.max_interval)
                .map_or(Duration::from_secs(300), PositiveDuration::get),
        })
    }
}

/// As in Envoy, nothing is shorter than a millisecond.
fn back_off(config: config::RetryBackOff, path: &ConfigPath) -> Result<RetryBackOff, BuildError> {
    let shortest = Duration::from_millis(1);
    let base_interval = config.base_interval.get().max(shortest);
    let max_interval =
        config.max_interval.map_or(base_interval * 10, |interval| interval.get().max(shortest));
    if max_interval < base_interval {
        let path = path.field("retry_back_off").field("max_interval");
        return Err(BuildError::at(
            path,
            "retry_policy.max_interval must greater than or equal to the base_interval",
        ));
    }
    Ok(RetryBackOff { base_interval, max_interval })
}
