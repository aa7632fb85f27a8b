//! Filter chains as they run, and the choice between them.

use std::{sync::Arc, time::Duration};

use underpass_core::{
    drain::DrainSignal, network_filter::NetworkFilter, stream_info::StreamInfo,
    transport_socket::DownstreamTransportSocket,
};

use super::filter_chain_match::{Facts, FilterChainMatcher};

/// What a connection speaks as long as no listener filter says otherwise.
const RAW_BUFFER: &str = "raw_buffer";

/// One filter chain. Versions of a listener that differ elsewhere share it, and so its connections live on.
pub(crate) struct FilterChain {
    /// Its name in the configuration, or nothing.
    pub(crate) name: Arc<str>,
    /// A hash of what its configuration says, to tell whether an update changes it.
    pub(crate) hash: Option<u64>,
    /// The last one is terminal. Without any, connections are closed.
    pub(crate) filters: Vec<Arc<dyn NetworkFilter>>,
    /// `None` leaves the bytes as they are.
    pub(crate) transport_socket: Option<Arc<dyn DownstreamTransportSocket>>,
    /// How long the transport socket may take; `None` is for ever.
    pub(crate) transport_socket_connect_timeout: Option<Duration>,
    /// Tells its connections that they shall end.
    pub(crate) drain: DrainSignal,
}

/// The filter chains of one version of a listener.
pub(crate) struct FilterChains {
    pub(super) matcher: FilterChainMatcher,
    /// In the order of the configuration, which is how the matcher numbers them.
    pub(super) chains: Vec<Arc<FilterChain>>,
    /// Serves what no other chain matches.
    pub(super) default: Option<Arc<FilterChain>>,
}

impl FilterChains {
    /// The chain for a connection whose listener filters are done.
    pub(crate) fn find(&self, info: &StreamInfo) -> Option<&Arc<FilterChain>> {
        if let Some(at) = self.matcher.serves_all() {
            return Some(&self.chains[at]);
        }
        let addresses = info.addresses.borrow();
        let details = info.details.get();
        let server_name = details.map(|details| details.requested_server_name.borrow());
        let transport_protocol = details.map(|details| details.detected_transport_protocol.borrow());
        let application_protocols = details.map(|details| details.application_protocols.borrow());
        let found = self.matcher.find(&Facts {
            destination: addresses.local(),
            server_name: server_name.as_ref().and_then(|name| name.as_deref()).unwrap_or_default(),
            transport_protocol: transport_protocol
                .as_ref()
                .and_then(|name| name.as_deref())
                .unwrap_or(RAW_BUFFER),
            application_protocols: application_protocols.as_deref().map_or(&[], Vec::as_slice),
            direct_source: addresses.direct_remote(),
            source: addresses.remote(),
        });
        found.map(|at| &self.chains[at]).or(self.default.as_ref())
    }

    /// All of them, the default one last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(&self.default)
    }

    /// Whether this very chain is among them.
    pub(crate) fn contains(&self, chain: &Arc<FilterChain>) -> bool {
        self.iter().any(|each| Arc::ptr_eq(each, chain))
    }

    /// The one that was built from the same configuration.
    pub(super) fn built_from(&self, hash: u64) -> Option<&Arc<FilterChain>> {
        self.iter().find(|chain| chain.hash == Some(hash))
    }
}
