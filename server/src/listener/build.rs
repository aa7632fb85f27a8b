//! From a listener's message to what runs, with Envoy's checks and words.

mod chains;
mod endpoint;

use std::{
    cell::RefCell,
    sync::{Arc, atomic::AtomicBool},
};

use underpass_core::{
    access_log::AccessLogs,
    build_context::{BuildContext, BuildError},
    config::{self, ConfigPath, Node, TypedConfig},
    init::InitManager,
    listener_filter::{ListenerFilter, ListenerFilterConfig},
    server::ServerContext,
    stats::Scope,
    stream_info::{ListenerInfo, TrafficDirection},
};

use super::{
    Endpoint, ListenerBase, Tag,
    connection_limit::{ConnectionCount, GlobalConnections},
    filter_chain::FilterChains,
    stats::ListenerStats,
};
use crate::config::listener::{self, Listener};

/// What `use_original_dst` puts behind the other listener filters.
const ORIGINAL_DST: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst";

/// A message on its way to become a listener.
pub(crate) struct Builder<'a> {
    pub(crate) server: &'a Arc<ServerContext>,
    pub(crate) config: &'a Listener,
    /// The name, or what stands for it.
    pub(crate) name: &'a str,
    pub(crate) node: &'a Node,
    pub(crate) path: &'a ConfigPath,
    pub(crate) warnings: &'a RefCell<Vec<BuildError>>,
    /// What the listener waits for before it serves.
    pub(crate) init: &'a Arc<InitManager>,
}

impl Builder<'_> {
    /// Builds all but the filter chains.
    pub(crate) fn base(
        &self,
        tag: Tag,
        global: &Arc<GlobalConnections>,
    ) -> Result<Arc<ListenerBase>, BuildError> {
        let config = self.config;
        let endpoint = self.endpoint()?;
        let scope = self.server.stats.scope(&format!("listener.{}", stats_name(config, &endpoint)));
        let info = Arc::new(ListenerInfo {
            name: self.name.into(),
            metadata: Arc::new(config.metadata.clone()),
            direction: direction(config.traffic_direction),
        });
        let context = self.context(&scope, &info);
        Ok(Arc::new(ListenerBase {
            tag,
            name: self.name.into(),
            stats: ListenerStats::new(&scope),
            listener_filters: self.listener_filters(&context)?,
            listener_filters_timeout: config.listener_filters_timeout_or_default(),
            continue_on_listener_filters_timeout: config.continue_on_listener_filters_timeout,
            access_logs: AccessLogs::build(&config.access_log, &context)?,
            buffer_limit: buffer_limit(config),
            use_original_dst: config.use_original_dst.unwrap_or_default(),
            connections: ConnectionCount::default(),
            connection_limit_key: format!("envoy.resource_limits.listener.{}.connection_limit", config.name),
            global: (!config.ignore_global_conn_limit).then(|| Arc::clone(global)),
            panic_logged: AtomicBool::new(false),
            info,
            endpoint,
            scope,
        }))
    }

    /// Builds the filter chains; those that `previous` has already are taken from there.
    pub(crate) fn chains(
        &self,
        base: &ListenerBase,
        previous: Option<&FilterChains>,
    ) -> Result<FilterChains, BuildError> {
        let context = self.context(&base.scope, &base.info);
        chains::build(self, &context, base, previous)
    }

    fn context<'c>(&'c self, scope: &'c Scope, info: &'c Arc<ListenerInfo>) -> BuildContext<'c> {
        BuildContext::new(self.server, scope, self.path.clone(), self.warnings)
            .with_listener(info)
            .with_init(self.init)
    }

    fn listener_filters(
        &self,
        context: &BuildContext<'_>,
    ) -> Result<Vec<Arc<dyn ListenerFilter>>, BuildError> {
        let configured = self.config.listener_filters.iter().map(|filter| filter.typed_config.clone());
        let original_dst = self.config.use_original_dst.unwrap_or_default().then(|| self.original_dst());
        let all = configured.map(Ok).chain(original_dst);
        all.map(|filter| context.build(&filter?, ListenerFilterConfig::build)).collect()
    }

    /// The listener filter that `use_original_dst` stands for.
    fn original_dst(&self) -> Result<TypedConfig<dyn ListenerFilterConfig>, BuildError> {
        let path = self.path.field("use_original_dst");
        let unusable = |report: config::Report| BuildError::at(path.clone(), report.to_string());
        let document = config::parse_yaml("", &format!("'@type': '{ORIGINAL_DST}'")).map_err(unusable)?;
        self.server.extensions.resolve(&document.root, path.clone()).map_err(unusable)
    }

    fn error(&self, field: &str, message: impl Into<String>) -> BuildError {
        BuildError::at(self.path.field(field), message)
    }

    fn warn(&self, field: &str, message: impl Into<String>) {
        self.warnings.borrow_mut().push(self.error(field, message));
    }
}

/// The `<address>` of `listener.<address>.…`, as in Envoy.
fn stats_name(config: &Listener, endpoint: &Endpoint) -> String {
    if !config.stat_prefix.is_empty() {
        return config.stat_prefix.clone();
    }
    match endpoint {
        Endpoint::Kernel(kernel) => kernel.addresses[0].address.to_string(),
        Endpoint::Internal(name) => format!("envoy_internal_{name}"),
    }
}

pub(crate) fn direction(direction: listener::TrafficDirection) -> TrafficDirection {
    match direction {
        listener::TrafficDirection::Unspecified => TrafficDirection::Unspecified,
        listener::TrafficDirection::Inbound => TrafficDirection::Inbound,
        listener::TrafficDirection::Outbound => TrafficDirection::Outbound,
    }
}

/// In bytes. Zero means no limit, as in Envoy.
fn buffer_limit(config: &Listener) -> usize {
    match config.buffer_limit_or_default() {
        0 => usize::MAX,
        bytes => bytes as usize,
    }
}
