//! Which requests get which faults.

use std::time::Duration;

use http::StatusCode;
use underpass_core::{
    config::{FractionalPercent, RuntimeFractionalPercent, Struct},
    matcher::HeaderMatcher,
    runtime::RuntimeSnapshot,
};
use underpass_http::{HttpStream, RequestHead, route::matches_header};

use crate::config::{Abort, FaultAbort, FaultDelay, FaultRateLimit, HttpFault, Source};

const DELAY: &str = "x-envoy-fault-delay-request";
const DELAY_PERCENTAGE: &str = "x-envoy-fault-delay-request-percentage";
const ABORT: &str = "x-envoy-fault-abort-request";
const ABORT_GRPC: &str = "x-envoy-fault-abort-grpc-request";
const ABORT_PERCENTAGE: &str = "x-envoy-fault-abort-request-percentage";
const THROUGHPUT: &str = "x-envoy-fault-throughput-response";
const THROUGHPUT_PERCENTAGE: &str = "x-envoy-fault-throughput-response-percentage";

/// A configuration, of the chain or of a route.
pub(crate) struct Settings {
    delay: Option<FaultDelay>,
    abort: Option<FaultAbort>,
    rate_limit: Option<FaultRateLimit>,
    upstream_cluster: String,
    headers: Vec<HeaderMatcher>,
    downstream_nodes: Vec<String>,
    max_active_faults: Option<u32>,
    keys: Keys,
    pub(crate) downstream_cluster_stats: bool,
    pub(crate) metadata: Option<Struct>,
}

/// Runtime keys.
struct Keys {
    delay_percent: String,
    delay_duration: String,
    abort_percent: String,
    abort_http_status: String,
    abort_grpc_status: String,
    max_active_faults: String,
    rate_limit_percent: String,
}

/// A request that may get faults.
pub(crate) struct Subject<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) runtime: &'a RuntimeSnapshot,
    /// `x-envoy-downstream-service-cluster`, if it is not empty: it has runtime keys and stats of its own.
    pub(crate) downstream_cluster: Option<&'a str>,
}

impl Settings {
    pub(crate) fn new(config: &HttpFault) -> Self {
        let key = |key: &str, usual: &str| if key.is_empty() { usual.to_owned() } else { key.to_owned() };
        Self {
            delay: config.delay.clone(),
            abort: config.abort.clone(),
            rate_limit: config.response_rate_limit.clone(),
            upstream_cluster: config.upstream_cluster.clone(),
            headers: config.headers.clone(),
            downstream_nodes: config.downstream_nodes.clone(),
            max_active_faults: config.max_active_faults,
            keys: Keys {
                delay_percent: key(&config.delay_percent_runtime, "fault.http.delay.fixed_delay_percent"),
                delay_duration: key(&config.delay_duration_runtime, "fault.http.delay.fixed_duration_ms"),
                abort_percent: key(&config.abort_percent_runtime, "fault.http.abort.abort_percent"),
                abort_http_status: key(&config.abort_http_status_runtime, "fault.http.abort.http_status"),
                abort_grpc_status: key(&config.abort_grpc_status_runtime, "fault.http.abort.grpc_status"),
                max_active_faults: key(&config.max_active_faults_runtime, "fault.http.max_active_faults"),
                rate_limit_percent: key(
                    &config.response_rate_limit_percent_runtime,
                    "fault.http.rate_limit.response_percent",
                ),
            },
            downstream_cluster_stats: !config.disable_downstream_cluster_stats,
            metadata: config.filter_metadata.clone(),
        }
    }

    /// Whether the request is one of those that get faults.
    pub(crate) fn concern(&self, stream: &HttpStream) -> bool {
        let head = stream.request();
        let to_cluster = || {
            let route = stream.route();
            let cluster = route.as_ref().and_then(|route| route.forward()?.cluster(&head));
            cluster == Some(self.upstream_cluster.as_str())
        };
        let of_node = || {
            let node = head.get("x-envoy-downstream-service-node");
            node.is_some_and(|node| self.downstream_nodes.iter().any(|it| it == node))
        };
        (self.downstream_nodes.is_empty() || of_node())
            && self.headers.iter().all(|matcher| matches_header(matcher, &head))
            && (self.upstream_cluster.is_empty() || to_cluster())
    }

    /// How many faults there may be at a time.
    pub(crate) fn max_active_faults(&self, runtime: &RuntimeSnapshot) -> u64 {
        runtime.integer(&self.keys.max_active_faults, self.max_active_faults.map_or(u64::MAX, Into::into))
    }

    /// How long the request waits.
    pub(crate) fn delay(&self, subject: &Subject<'_>) -> Option<Duration> {
        let delay = self.delay.as_ref()?;
        let percentage = subject.percentage(delay.percentage, &delay.delay, DELAY_PERCENTAGE);
        if !subject.is_chosen(&self.keys.delay_percent, "delay.fixed_delay_percent", percentage) {
            return None;
        }
        let milliseconds = match delay.delay {
            Source::Fixed(delay) => u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            Source::Header => subject.number(DELAY)?,
        };
        let milliseconds =
            subject.overridden(&self.keys.delay_duration, "delay.fixed_duration_ms", milliseconds);
        (milliseconds > 0).then_some(Duration::from_millis(milliseconds))
    }

    /// The HTTP status with which the request is aborted, and that of gRPC, if it is said.
    pub(crate) fn abort(&self, subject: &Subject<'_>) -> Option<(StatusCode, Option<u32>)> {
        let abort = self.abort.as_ref()?;
        let percentage = subject.percentage(abort.percentage, &abort.status, ABORT_PERCENTAGE);
        if !subject.is_chosen(&self.keys.abort_percent, "abort.abort_percent", percentage) {
            return None;
        }
        let (http, grpc) = match abort.status {
            Source::Fixed(Abort::Http(status)) => (Some(status.into()), None),
            Source::Fixed(Abort::Grpc(status)) => (None, Some(status.into())),
            Source::Header => (
                subject.number(ABORT).filter(|status| (200..600).contains(status)),
                subject.number(ABORT_GRPC),
            ),
        };
        if let Some(http) = http {
            let status = subject.overridden(&self.keys.abort_http_status, "abort.http_status", http);
            // A key may say anything.
            let status = [status, http].into_iter().find_map(|status| {
                u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())
            });
            return Some((status?, None));
        }
        let status = subject.overridden(&self.keys.abort_grpc_status, "abort.grpc_status", grpc?);
        Some((StatusCode::OK, Some(u32::try_from(status).unwrap_or(u32::MAX))))
    }

    /// The body of an aborted request's answer.
    pub(crate) fn abort_body(&self) -> &str {
        let body = self.abort.as_ref().map_or("", |abort| abort.response_body.as_str());
        if body.is_empty() { "fault filter abort" } else { body }
    }

    /// How many KiB a second the answer may have.
    pub(crate) fn rate_limit(&self, subject: &Subject<'_>) -> Option<u64> {
        let limit = self.rate_limit.as_ref()?;
        let kbps = match limit.kbps {
            Source::Fixed(kbps) => kbps,
            Source::Header => subject.number(THROUGHPUT).filter(|kbps| *kbps > 0)?,
        };
        let percentage = subject.percentage(limit.percentage, &limit.kbps, THROUGHPUT_PERCENTAGE);
        let fraction = RuntimeFractionalPercent {
            default_value: percentage,
            runtime_key: self.keys.rate_limit_percent.clone(),
        };
        subject.runtime.is_enabled(&fraction, fastrand::u64(..)).then_some(kbps)
    }
}

impl Subject<'_> {
    /// How many requests get a fault: less than configured, if the value is in a header and another header says so.
    fn percentage<T>(
        &self,
        configured: FractionalPercent,
        source: &Source<T>,
        header: &str,
    ) -> FractionalPercent {
        let asked = match source {
            Source::Fixed(_) => None,
            Source::Header => self.head.get(header).and_then(|value| value.trim().parse().ok()),
        };
        let numerator = asked.unwrap_or(u32::MAX).min(configured.numerator);
        FractionalPercent { numerator, ..configured }
    }

    /// Whether this request is one of so many; the key of its downstream cluster gives it a second chance.
    fn is_chosen(&self, key: &str, of_cluster: &str, percentage: FractionalPercent) -> bool {
        let chosen = |runtime_key: String| {
            let fraction = RuntimeFractionalPercent { default_value: percentage, runtime_key };
            self.runtime.is_enabled(&fraction, fastrand::u64(..))
        };
        chosen(key.to_owned()) || self.cluster_key(of_cluster).is_some_and(chosen)
    }

    /// A number, unless the runtime says another one.
    fn overridden(&self, key: &str, of_cluster: &str, number: u64) -> u64 {
        let number = self.runtime.integer(key, number);
        self.cluster_key(of_cluster).map_or(number, |key| self.runtime.integer(&key, number))
    }

    fn cluster_key(&self, key: &str) -> Option<String> {
        self.downstream_cluster.map(|cluster| format!("fault.http.{cluster}.{key}"))
    }

    fn number(&self, header: &str) -> Option<u64> {
        self.head.get(header)?.trim().parse().ok()
    }
}
