//! What workers are told: which listeners there are, and where they accept.

use std::sync::Arc;

use underpass_core::{address::Address, stats::GaugeHold};

use crate::listener::{Listener, Tag, filter_chain::FilterChain, socket::ListenSocket};

/// All listeners at one moment. It is replaced as a whole; what did not change is the same object as before.
#[derive(Default)]
pub(super) struct Snapshot {
    /// Those that drain come first, so that of two internal listeners of one name the last one is the present one.
    pub(super) placements: Vec<Arc<Placement>>,
}

/// A listener and its place among the workers.
#[derive(Clone)]
pub(super) struct Placement {
    pub(super) listener: Arc<Listener>,
    /// Where it listens, with the ports that the kernel chose.
    pub(super) addresses: Vec<Address>,
    /// Where connections are accepted.
    pub(super) sockets: Vec<Arc<ListenSocket>>,
    /// It has no sockets any more, and will not get new ones.
    pub(super) stopped: bool,
    /// Chains of earlier versions that may still have connections.
    pub(super) retired: Vec<Arc<RetiredChains>>,
    /// Counts it as draining until every worker has let go of it.
    pub(super) draining: Option<Arc<GaugeHold>>,
}

/// Chains that an update in place took away, until the drain time is over.
pub(super) struct RetiredChains {
    pub(super) chains: Vec<Arc<FilterChain>>,
    /// Count them as draining until every worker has let go of them.
    pub(super) _gauges: Vec<GaugeHold>,
}

impl Placement {
    /// A listener that begins to serve.
    pub(super) fn new(listener: Arc<Listener>, sockets: Vec<Arc<ListenSocket>>) -> Self {
        let addresses = Self::addresses_of(&listener, &sockets);
        Self { listener, addresses, sockets, stopped: false, retired: Vec::new(), draining: None }
    }

    /// The same, with other sockets.
    pub(super) fn with_sockets(&self, sockets: Vec<Arc<ListenSocket>>) -> Self {
        Self { addresses: Self::addresses_of(&self.listener, &sockets), sockets, ..self.clone() }
    }

    /// The same without sockets, but known by the addresses that it had.
    pub(super) fn stopped(&self) -> Self {
        Self { sockets: Vec::new(), stopped: true, ..self.clone() }
    }

    /// The same without some chains whose drain time is over.
    pub(super) fn without_retired(&self, over: &Arc<RetiredChains>) -> Self {
        let mut same = self.clone();
        same.retired.retain(|each| !Arc::ptr_eq(each, over));
        same
    }

    /// As configured where it has no sockets.
    fn addresses_of(listener: &Listener, sockets: &[Arc<ListenSocket>]) -> Vec<Address> {
        if sockets.is_empty() {
            return listener.base.addresses();
        }
        sockets.iter().map(|socket| socket.address().clone()).collect()
    }

    pub(super) fn tag(&self) -> Tag {
        self.listener.base.tag
    }

    /// Whether connections of this chain may go on.
    pub(super) fn has(&self, chain: &Arc<FilterChain>) -> bool {
        self.all_chains().any(|each| Arc::ptr_eq(each, chain))
    }

    /// Every chain that may have connections.
    pub(super) fn all_chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.listener.chains.iter().chain(self.retired.iter().flat_map(|retired| &retired.chains))
    }
}
