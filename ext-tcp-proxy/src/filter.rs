//! The filter: where connections arrive.

use underpass_core::{
    connection::{BoxFuture, Connection, ConnectionError},
    network_filter::{NetworkFilter, Next},
    stream_info::StreamInfo,
};

use crate::{session::Session, settings::Settings};

/// One `tcp_proxy` of a filter chain, shared by all workers.
pub(crate) struct TcpProxyFilter {
    settings: Settings,
}

impl TcpProxyFilter {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl NetworkFilter for TcpProxyFilter {
    fn serve<'a>(
        &'a self,
        connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(Session::new(&self.settings, connection))
    }

    fn turned_away(&self, info: &StreamInfo) {
        self.settings.stats.downstream_cx_total.inc();
        self.settings.log.start(info);
        self.settings.log.end(info);
    }
}
