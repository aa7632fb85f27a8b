//! How a stream of bytes gets to a host: the place where tunnelling will stand beside a plain connection.

use std::rc::Rc;

use underpass_core::{
    cluster::{Cluster, LoadBalancerContext, PoolFailure, UpstreamConnection},
    connection::BoxFuture,
};

/// A way to a host of a cluster.
pub(crate) trait UpstreamKind: Send + Sync {
    /// Picks a host and opens a way to it, one attempt. Dropping the future gives up.
    fn open<'a>(
        &'a self,
        cluster: &'a Rc<dyn Cluster>,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>>;
}

/// A connection that carries the bytes as they are.
pub(crate) struct RawTcp;

impl UpstreamKind for RawTcp {
    fn open<'a>(
        &'a self,
        cluster: &'a Rc<dyn Cluster>,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        cluster.open_tcp(context)
    }
}
