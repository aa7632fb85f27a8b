//! Discovery: how a cluster finds its hosts, over and over again.
//!
//! Hosts of `STATIC` clusters are in the configuration, so there is nothing to run for them; those of `ORIGINAL_DST` clusters
//! come with the connections that want them. Those of `EDS` clusters are
//! named by a file or a control plane.

mod endpoint_discovery;
mod logical_dns;
mod original_dst;
mod refresh;
mod strict_dns;

use std::{future::Future, pin::Pin, sync::Arc};

pub(super) use self::{
    endpoint_discovery::EndpointDiscovery,
    logical_dns::{LogicalDns, ONE_ENDPOINT},
    original_dst::OriginalDst,
    refresh::Refresh,
    strict_dns::StrictDns,
};
use super::shared::SharedCluster;

/// Finds the hosts of one version of a cluster.
pub(crate) trait Discovery: Send + Sync {
    /// Runs as long as the version lives: it is dropped when the version is. `first` is told when the first answer is there,
    /// good or bad, which may be before this returns. To be called on the main thread, in its runtime.
    fn run(self: Arc<Self>, cluster: Arc<SharedCluster>, first: FirstAnswer) -> DiscoveryFuture;
}

/// The work of a [`Discovery`].
pub(crate) type DiscoveryFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Somebody waits for the first answer. If it is dropped untold, that counts as told: nobody shall wait for ever.
pub(crate) struct FirstAnswer(Option<Box<dyn FnOnce() + Send>>);

impl FirstAnswer {
    /// Calls `then` once.
    pub(crate) fn new(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// The answer is there. Only the first call counts.
    pub(super) fn tell(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

impl Drop for FirstAnswer {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests;
