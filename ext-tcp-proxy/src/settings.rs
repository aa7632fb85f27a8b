//! What a configuration comes to: checked, with its defaults, ready for use by every connection.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use underpass_core::{
    access_log::AccessLogs,
    build_context::{BuildContext, BuildError},
    runtime::{NOTICE_RESET_WHILE_CONNECTING, TUNNEL_ABORT},
    stats::Counter,
    stream_info::StreamInfo,
};

use crate::{
    backoff::Backoff,
    config::{HashPolicy, TcpProxy, UpstreamConnectMode},
    log::LogSettings,
    overrides::tunneling_is_disabled,
    route::Routes,
    stats::{TcpProxyStats, always_zero},
    tunneling::Tunnel,
    upstream::UpstreamKind,
};

/// Envoy's default of `idle_timeout`.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What all connections of one filter share.
pub(crate) struct Settings {
    pub(crate) stats: Arc<TcpProxyStats>,
    _always_zero: [Counter; 3],
    pub(crate) routes: Routes,
    pub(crate) hash_policy: Option<HashPolicy>,
    pub(crate) max_connect_attempts: u32,
    pub(crate) backoff: Option<Backoff>,
    /// `None` for ever.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_duration: Option<MaxDuration>,
    pub(crate) connects_on_data: bool,
    /// How much may be read before there is an upstream connection, if anything.
    pub(crate) early_data_limit: Option<usize>,
    pub(crate) notices_reset_while_connecting: bool,
    /// Whether a client that aborts ends its tunnel also while it is not read.
    pub(crate) tunnels_notice_aborts: bool,
    /// Whether the hop before this filter may do the work of its relays.
    pub(crate) fuses_hops: bool,
    pub(crate) log: LogSettings,
    tunnel: Option<Tunnel>,
}

impl Settings {
    pub(crate) fn build(config: &TcpProxy, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let connects_on_data = config.upstream_connect_mode == UpstreamConnectMode::OnDownstreamData;
        if config.upstream_connect_mode != UpstreamConnectMode::Immediate
            && config.max_early_data_bytes.is_none()
        {
            let message = "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE";
            return Err(context.error_at("upstream_connect_mode", message));
        }
        let scope = context.server.stats.scope(&format!("tcp.{}", config.stat_prefix));
        let jitter = config.max_downstream_connection_duration_jitter_percentage;
        Ok(Self {
            stats: Arc::new(TcpProxyStats::new(&scope)),
            _always_zero: always_zero(&scope),
            routes: Routes::build(config, context)?,
            hash_policy: config.hash_policy.first().cloned(),
            max_connect_attempts: config.max_connect_attempts.unwrap_or(1),
            backoff: config
                .backoff_options
                .as_ref()
                .map(|options| Backoff::build(options, context))
                .transpose()?,
            idle_timeout: match config.idle_timeout {
                None => Some(DEFAULT_IDLE_TIMEOUT),
                Some(timeout) => (!timeout.is_zero()).then_some(timeout),
            },
            max_duration: config.max_downstream_connection_duration.map(|base| MaxDuration {
                base,
                jitter: base.mul_f64(jitter.unwrap_or_default().value.clamp(0.0, 100.0) / 100.0),
            }),
            connects_on_data,
            notices_reset_while_connecting: context
                .server
                .runtime
                .snapshot()
                .feature(NOTICE_RESET_WHILE_CONNECTING),
            tunnels_notice_aborts: context.server.runtime.snapshot().feature(TUNNEL_ABORT),
            fuses_hops: context.server.runtime.snapshot().hop_fusion(),
            early_data_limit: config.max_early_data_bytes.map(|limit| limit as usize),
            log: LogSettings::build(config, AccessLogs::build(&config.access_log, context)?, context)?,
            tunnel: config
                .tunneling_config
                .as_ref()
                .map(|tunneling| Tunnel::build(tunneling, context))
                .transpose()?,
        })
    }

    /// The way upstream of a connection, if it is more than another connection.
    pub(crate) fn upstream(&self, info: &StreamInfo) -> Option<&dyn UpstreamKind> {
        self.tunnel_of(info).map(|tunnel| tunnel as _)
    }

    /// Whether a connection goes through a tunnel.
    pub(crate) fn has_tunnel(&self, info: &StreamInfo) -> bool {
        self.tunnel_of(info).is_some()
    }

    fn tunnel_of(&self, info: &StreamInfo) -> Option<&Tunnel> {
        self.tunnel.as_ref().filter(|_| !tunneling_is_disabled(&info.filter_state.borrow()))
    }
}

/// How long a connection may last.
pub(crate) struct MaxDuration {
    base: Duration,
    /// Up to this much is added, so that connections made together do not end together.
    jitter: Duration,
}

impl MaxDuration {
    /// When a connection has to end that began at that moment.
    pub(crate) fn deadline(&self, began: Instant) -> Instant {
        began + self.base + self.jitter.mul_f64(fastrand::f64())
    }
}
