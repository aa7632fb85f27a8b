//! What the configuration comes to.

use std::{sync::Arc, time::Duration};

use underpass_core::{
    access_log::AccessLogs,
    build_context::{BuildContext, BuildError},
    runtime::{CONNECT_HALF_CLOSE, RuntimeSnapshot, TUNNEL_ABORT},
    stats::Counter,
};
use underpass_http::{
    downstream::{self, CodecStats, ServerOptions},
    filter::FilterChain,
    local_reply::LocalReplies,
    path_normalization::{EscapedSlashes, PathNormalization},
    protocol_options::{CommonSettings, Http1Settings, Http2Settings},
};

use crate::{
    config::{CodecType, HcmAccessLogOptions, HttpConnectionManager, PathWithEscapedSlashesAction},
    request_headers::{HostNormalization, RequestHeaders},
    response_headers::ResponseHeaders,
    routes::Routes,
    stats::{ListenerStats, ManagerStats, always_zero},
    upgrade::Upgrades,
};

/// What the configuration comes to; shared by all workers.
pub(crate) struct Settings {
    pub(crate) codec: ServerOptions,
    pub(crate) common: CommonSettings,
    pub(crate) stats: ManagerStats,
    pub(crate) listener_stats: ListenerStats,
    pub(crate) logs: AccessLogs,
    /// When requests are logged, apart from their end.
    pub(crate) log_options: HcmAccessLogOptions,
    pub(crate) routes: Routes,
    pub(crate) filters: FilterChain,
    pub(crate) upgrades: Upgrades,
    pub(crate) path_normalization: PathNormalization,
    pub(crate) host_normalization: HostNormalization,
    pub(crate) request_headers: RequestHeaders,
    pub(crate) response_headers: ResponseHeaders,
    pub(crate) local_replies: Option<Arc<LocalReplies>>,
    pub(crate) scheme_matches_upstream: bool,
    pub(crate) stream_idle_timeout: Option<Duration>,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) request_headers_timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    /// Half as many requests may be reset early on a connection (`overload.premature_reset_total_stream_count`).
    pub(crate) premature_resets: u64,
    /// What early means (`overload.premature_reset_min_stream_lifetime_seconds`).
    pub(crate) premature_lifetime: Duration,
    /// `tracing.health_check`, which counts requests whether or not there is a tracer.
    pub(crate) health_checks: Counter,
    _always_zero: Vec<Counter>,
}

impl Settings {
    pub(crate) fn build(
        config: &HttpConnectionManager,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        config.validate(context)?;
        let path = context.path();
        let stat_prefix = format!("http.{}.", config.stat_prefix.as_str());
        let scope = context.server.stats.scope(&stat_prefix);
        let routes = Routes::build(config, &stat_prefix, context)?;
        let filters = path.field("http_filters");
        let filters = FilterChain::build(&config.http_filters, &filters, "http", &stat_prefix, context)?;
        let common = CommonSettings::new(&config.common_http_protocol_options);
        let request_headers = RequestHeaders::build(config, context)?;
        let runtime = context.server.runtime.snapshot();
        Ok(Self {
            codec: codec_options(config, &common, context)?,
            common,
            stats: ManagerStats::new(&scope),
            listener_stats: ListenerStats::new(&context.scope.scope(&stat_prefix)),
            log_options: config.access_log_options_or_default(),
            logs: AccessLogs::build(&config.access_log, context)?,
            routes,
            filters,
            upgrades: Upgrades::build(&config.upgrade_configs, &stat_prefix, context)?,
            path_normalization: path_normalization(config, &context.server.runtime.snapshot()),
            host_normalization: HostNormalization::new(config),
            response_headers: ResponseHeaders::build(config, &request_headers, context)?,
            request_headers,
            scheme_matches_upstream: config.scheme_header_transformation.match_upstream,
            local_replies: LocalReplies::build(
                &config.local_reply_config,
                &path.field("local_reply_config"),
                context,
            )?
            .map(Arc::new),
            stream_idle_timeout: config.stream_idle_timeout_or_default(),
            request_timeout: config.request_timeout_if_any(),
            request_headers_timeout: config.request_headers_timeout_if_any(),
            drain_timeout: config.drain_timeout_or_default(),
            premature_resets: runtime.integer("overload.premature_reset_total_stream_count", 500),
            premature_lifetime: Duration::from_secs(
                runtime.integer("overload.premature_reset_min_stream_lifetime_seconds", 1),
            ),
            health_checks: scope.counter("tracing.health_check"),
            _always_zero: always_zero(&scope),
        })
    }
}

/// What is done to paths. Without a word on escaped slashes, the runtime decides, by the number of the action.
fn path_normalization(config: &HttpConnectionManager, runtime: &RuntimeSnapshot) -> PathNormalization {
    let by_runtime = || match runtime.integer("http_connection_manager.path_with_escaped_slashes_action", 1) {
        2 => EscapedSlashes::Reject,
        3 => EscapedSlashes::UnescapeAndRedirect,
        4 => EscapedSlashes::UnescapeAndForward,
        _ => EscapedSlashes::Keep,
    };
    let escaped_slashes = match config.path_with_escaped_slashes_action {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault => by_runtime(),
        PathWithEscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
        PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
        PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
        PathWithEscapedSlashesAction::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
    };
    let normalize = config.normalize_path.unwrap_or(false);
    PathNormalization { escaped_slashes, normalize, merge_slashes: config.merge_slashes }
}

/// What codecs are told.
fn codec_options(
    config: &HttpConnectionManager,
    common: &CommonSettings,
    context: &BuildContext<'_>,
) -> Result<ServerOptions, BuildError> {
    let path = context.path();
    let stream_error = config.stream_error_on_invalid_http_message.unwrap_or(false);
    let http1 = path.field("http_protocol_options");
    let http2 = path.field("http2_protocol_options");
    Ok(ServerOptions {
        codec: match config.codec_type {
            CodecType::Auto | CodecType::Http3 => downstream::CodecType::Auto,
            CodecType::Http1 => downstream::CodecType::Http1,
            CodecType::Http2 => downstream::CodecType::Http2,
        },
        max_headers_bytes: config.max_request_headers_bytes(),
        max_headers_count: common.max_headers_count,
        underscores: common.headers_with_underscores_action,
        proxy_100_continue: config.proxy_100_continue,
        delayed_close_timeout: config.delayed_close_timeout_or_default(),
        tunnel_half_close: context.server.runtime.snapshot().feature(CONNECT_HALF_CLOSE),
        notices_aborts: context.server.runtime.snapshot().feature(TUNNEL_ABORT),
        http1: Http1Settings::build(&config.http_protocol_options, stream_error, &http1)?,
        http2: Http2Settings::build(&config.http2_protocol_options, stream_error, &http2, context)?,
        ..ServerOptions::new(CodecStats::new(&context.server.stats))
    })
}
