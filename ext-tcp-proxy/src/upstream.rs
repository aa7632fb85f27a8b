//! How a stream of bytes gets to a host: over a connection of its own, or through a tunnel.

use std::{rc::Rc, sync::Arc};

use underpass_core::{
    cluster::{Cluster, ClusterInfo, ConnectionLease, LoadBalancerContext, PoolFailure, UpstreamConnection},
    connection::BoxFuture,
    io::BoxIo,
    stream_info::SharedStreamInfo,
    user_space_socket::{Refusal, RefusalNote},
    worker::Worker,
};

use crate::tunneling::{ForClient, ResponseTrailers};

/// A way to a host of a cluster that is more than a connection.
pub(crate) trait UpstreamKind: Send + Sync {
    /// Picks a host and opens a way to it, once, and leaves in the stream's info which it is. Dropping the future gives up.
    fn open<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, Result<Upstream, OpenFailure>>;
}

/// What an attempt is made with.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) cluster: &'a Rc<dyn Cluster>,
    pub(crate) context: &'a LoadBalancerContext<'a>,
    pub(crate) info: &'a SharedStreamInfo,
    /// Where the hop before this one learns of a tunnel, if the client comes through one.
    pub(crate) hop: Option<&'a RefusalNote>,
}

/// A way that is open.
pub(crate) struct Upstream {
    pub(crate) io: BoxIo,
    pub(crate) cluster: Arc<ClusterInfo>,
    /// Keeps a connection counted that belongs to this stream alone. A pool keeps its connections counted itself, and
    /// counts the bytes on them.
    pub(crate) lease: Option<Box<dyn ConnectionLease>>,
    /// Makes the client's side end as the tunnel does, where that is not as the relay has it.
    pub(crate) for_client: Option<ForClient>,
    /// Those of a tunnel's answer, if they are to be left in the filter state.
    pub(crate) trailers: Option<ResponseTrailers>,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    /// There is no connection.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// There is one, but no tunnel came about. What is to be known of the connection stands in the stream's info.
    #[error("{}", .reason.as_deref().unwrap_or("the tunnel's stream was reset"))]
    Tunnel {
        /// For `%UPSTREAM_TRANSPORT_FAILURE_REASON%`: `tunnel_response:403`.
        reason: Option<String>,
        /// For the hop before this one: what the proxy answered.
        refusal: Option<Refusal>,
    },
}

/// Opens a connection that carries the bytes as they are, as [`UpstreamKind::open`] does; every connection that has no tunnel
/// comes here, so it is spared the box.
pub(crate) async fn open_raw(attempt: Attempt<'_>) -> Result<Upstream, OpenFailure> {
    let connection = attempt.cluster.open_tcp(attempt.context).await?;
    let UpstreamConnection { io, host, cluster, local_address, remote_address, connection_id, lease } =
        connection;
    let upstream = &attempt.info.upstream;
    upstream.local_address.set(local_address);
    upstream.remote_address.set(Some(remote_address));
    upstream.note_only_connection(host, connection_id);
    Ok(Upstream { io, cluster, lease: Some(lease), for_client: None, trailers: None })
}
