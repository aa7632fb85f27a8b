//! A listener as it runs: built from its message once per version, then shared by all workers.
//!
//! A [`Listener`] is one version. What an update of filter chains alone leaves as it is, is its [`ListenerBase`], which both
//! versions share, and with it the connections that are open. A full update makes a new base under a new [`Tag`].
//!
//! On each worker an `ActiveListener` accepts connections for the present version; each connection is one task
//! (`connection`) that passes through listener filters, filter chain match, transport socket and network filters.

pub(crate) mod acceptor;
pub(crate) mod active_listener;
pub(crate) mod address;
pub(crate) mod build;
mod connection;
pub(crate) mod connection_balancer;
pub(crate) mod connection_limit;
pub(crate) mod filter_chain;
mod filter_chain_match;
pub(crate) mod internal;
pub(crate) mod raw_connection;
pub(crate) mod socket;
mod stats;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use underpass_core::{
    access_log::{AccessLogType, AccessLogs},
    address::Address,
    config::{ConfigPath, Node},
    formatter::FormatContext,
    listener_filter::ListenerFilter,
    stats::Scope,
    stream_info::{ListenerInfo, StreamInfo},
};

use self::{
    connection_balancer::ExactBalancer,
    connection_limit::{ConnectionCount, GlobalConnections},
    filter_chain::FilterChains,
    socket::{ListenAddress, SocketSettings},
    stats::ListenerStats,
};

/// Tells listeners apart that have had the same name one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tag(pub(crate) u64);

/// One version of a listener.
pub(crate) struct Listener {
    pub(crate) base: Arc<ListenerBase>,
    pub(crate) chains: FilterChains,
    pub(crate) origin: Origin,
}

/// Where a version came from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Its message as it was written.
    pub(crate) node: Arc<Node>,
    /// Where the message stands.
    pub(crate) path: ConfigPath,
    pub(crate) source: Source,
    /// When it was built.
    pub(crate) last_updated: String,
}

/// Who configured a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The bootstrap: it stays as long as the process.
    Static,
    /// A file that is watched, or a control plane.
    Api {
        /// The version that came with it.
        version_info: String,
    },
}

/// What all versions of a listener share that differ in their filter chains only.
pub(crate) struct ListenerBase {
    pub(crate) tag: Tag,
    pub(crate) name: Arc<str>,
    pub(crate) info: Arc<ListenerInfo>,
    pub(crate) endpoint: Endpoint,
    pub(crate) scope: Scope,
    pub(crate) stats: ListenerStats,
    pub(crate) listener_filters: Vec<Arc<dyn ListenerFilter>>,
    /// `None` is for ever.
    pub(crate) listener_filters_timeout: Option<Duration>,
    pub(crate) continue_on_listener_filters_timeout: bool,
    pub(crate) access_logs: AccessLogs,
    pub(crate) buffer_limit: usize,
    /// Hands connections with a restored destination to the listener of that address.
    pub(crate) use_original_dst: bool,
    /// Connections that are open or on their way to be.
    pub(crate) connections: ConnectionCount,
    /// The runtime key that limits them.
    pub(crate) connection_limit_key: String,
    /// `None` if its connections do not count towards the limit of the process.
    pub(crate) global: Option<Arc<GlobalConnections>>,
    /// Set when the first panic of a filter was logged.
    pub(crate) panic_logged: AtomicBool,
}

/// How a listener is reached.
pub(crate) enum Endpoint {
    /// By sockets of the kernel.
    Kernel(KernelEndpoint),
    /// By name, from within the process.
    Internal(Arc<str>),
}

/// How a listener with kernel sockets is reached.
pub(crate) struct KernelEndpoint {
    /// At least one.
    pub(crate) addresses: Vec<ListenAddress>,
    pub(crate) settings: SocketSettings,
    /// Without sockets it gets connections only from listeners with `use_original_dst`.
    pub(crate) bind_to_port: bool,
    /// How many connections are accepted before other tasks have their turn.
    pub(crate) max_accepts_per_event: u32,
    /// `connection_balance_config.exact_balance`.
    pub(crate) balancer: Option<Arc<ExactBalancer>>,
}

impl ListenerBase {
    /// Its addresses as they are configured.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        match &self.endpoint {
            Endpoint::Kernel(kernel) => kernel.addresses.iter().map(|at| at.address.clone()).collect(),
            Endpoint::Internal(name) => vec![Address::internal(Arc::clone(name), "")],
        }
    }

    pub(crate) fn internal_name(&self) -> Option<&Arc<str>> {
        match &self.endpoint {
            Endpoint::Kernel(_) => None,
            Endpoint::Internal(name) => Some(name),
        }
    }

    pub(crate) fn kernel(&self) -> Option<&KernelEndpoint> {
        match &self.endpoint {
            Endpoint::Kernel(kernel) => Some(kernel),
            Endpoint::Internal(_) => None,
        }
    }

    /// Writes the listener's own access logs for a connection that is done.
    fn log(&self, info: &StreamInfo) {
        self.access_logs.log(&FormatContext::new(info, AccessLogType::NotSet));
    }
}
