//! Which streams an access log is about: the `filter` of its configuration.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/accesslog/v3/accesslog.proto>

use super::config::{
    AccessLogFilter, ComparisonFilter, ComparisonOp, FlagName, LogTypeFilter, MetadataFilter,
    ResponseFlagFilter, RuntimeFilter,
};
use crate::{
    config::Denominator, formatter::FormatContext, response_flags::ResponseFlags, runtime::RuntimeSnapshot,
};

impl AccessLogFilter {
    /// Whether a stream passes the filter.
    pub fn passes(&self, context: &FormatContext<'_>, runtime: &RuntimeSnapshot) -> bool {
        passes(self, context, runtime)
    }
}

fn passes(filter: &AccessLogFilter, context: &FormatContext<'_>, runtime: &RuntimeSnapshot) -> bool {
    let info = context.info;
    match filter {
        AccessLogFilter::StatusCodeFilter(filter) => {
            compares(&filter.comparison, info.response_code.get().unwrap_or(0).into(), runtime)
        }
        AccessLogFilter::DurationFilter(filter) => {
            let milliseconds = u64::try_from(info.duration().as_millis()).unwrap_or(u64::MAX);
            compares(&filter.comparison, milliseconds, runtime)
        }
        AccessLogFilter::NotHealthCheckFilter(_) => !info.health_check.get(),
        // What traces a stream is a tracer, and there is none yet.
        AccessLogFilter::TraceableFilter(_) => false,
        AccessLogFilter::RuntimeFilter(filter) => {
            // An id is only made where it decides.
            let counts = !filter.use_independent_randomness && info.has_id();
            let id = counts.then(|| info.stream_id());
            is_sampled(filter, id.as_deref(), runtime)
        }
        AccessLogFilter::AndFilter(several) => several.filters.iter().all(|it| passes(it, context, runtime)),
        AccessLogFilter::OrFilter(several) => several.filters.iter().any(|it| passes(it, context, runtime)),
        AccessLogFilter::HeaderFilter(filter) => {
            let value = context.headers.and_then(|headers| headers.request(filter.header.name()));
            filter.header.matches(value)
        }
        AccessLogFilter::ResponseFlagFilter(filter) => has_flag(filter, info.flags.get()),
        AccessLogFilter::MetadataFilter(filter) => has_metadata(filter, context),
        AccessLogFilter::LogTypeFilter(LogTypeFilter { types, exclude }) => {
            types.contains(&context.access_log_type) != *exclude
        }
    }
}

fn compares(filter: &ComparisonFilter, number: u64, runtime: &RuntimeSnapshot) -> bool {
    let ComparisonFilter { op, value } = filter;
    let wanted = match value.runtime_key.as_str() {
        "" => value.default_value.into(),
        key => runtime.integer(key, value.default_value.into()),
    };
    match op {
        ComparisonOp::Eq => number == wanted,
        ComparisonOp::Ge => number >= wanted,
        ComparisonOp::Le => number <= wanted,
        ComparisonOp::Ne => number != wanted,
    }
}

fn is_sampled(filter: &RuntimeFilter, stream_id: Option<&str>, runtime: &RuntimeSnapshot) -> bool {
    let percent = filter.percent_sampled;
    let lots: u64 = match percent.denominator {
        Denominator::Hundred => 100,
        Denominator::TenThousand => 10_000,
        Denominator::Million => 1_000_000,
    };
    let number = stream_id.and_then(number_of_uuid);
    let number = number.unwrap_or_else(|| fastrand::u64(..));
    number % lots < runtime.integer(&filter.runtime_key, percent.numerator.into())
}

/// The number that a stream id in the form of a UUID stands for: its first eight digits, as in Envoy's
/// `source/extensions/request_id/uuid/config.cc`.
fn number_of_uuid(id: &str) -> Option<u64> {
    u64::from_str_radix(id.get(..8)?, 16).ok()
}

fn has_flag(filter: &ResponseFlagFilter, flags: ResponseFlags) -> bool {
    match filter.flags[..] {
        [] => !flags.is_empty(),
        _ => filter.flags.iter().any(|FlagName(flag)| flags.contains(*flag)),
    }
}

/// A value that is there has to match; one that is not there decides by `match_if_key_not_found`. `invert` has no say
/// (Envoy's `source/common/access_log/access_log_impl.cc`).
fn has_metadata(filter: &MetadataFilter, context: &FormatContext<'_>) -> bool {
    let metadata = context.info.dynamic_metadata.borrow();
    let matcher = filter.matcher.as_ref();
    match matcher.and_then(|matcher| Some((matcher, matcher.find(&metadata)?))) {
        Some((matcher, value)) => matcher.value.matches(Some(value)),
        None => filter.match_if_key_not_found.unwrap_or(true),
    }
}
