//! Where the pools of a host are, and the way in.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use http::Version;
use underpass_core::{
    cluster::{Cluster, ClusterInfo, Host, PoolFailure},
    stream_info::SharedStreamInfo,
    worker::Worker,
};

use super::{
    pool::{Pool, PoolKey},
    protocol::Protocol,
    stream::PooledStream,
};
use crate::protocol_options::ClusterProtocolOptions;

/// On whose behalf a place in a pool is taken.
#[derive(Default, Clone)]
pub struct PoolRequest {
    /// The request, or the connection whose bytes are to be tunnelled. Its filter state decides what it may share a
    /// connection with; connections that are opened are opened on its behalf.
    pub downstream: Option<SharedStreamInfo>,
    /// What the client speaks, for `use_downstream_protocol_config`.
    pub downstream_version: Option<Version>,
    /// Which circuit breakers count.
    pub high_priority: bool,
}

/// Takes a place for a request on a connection to `host`; waits until there is one. Dropping the future gives it up.
///
/// # Errors
/// A circuit breaker refused, or a connection could not be opened.
pub async fn acquire(
    worker: &Rc<Worker>,
    cluster: &Rc<dyn Cluster>,
    host: &Arc<Host>,
    request: &PoolRequest,
) -> Result<PooledStream, PoolFailure> {
    let pools = worker.host_slots(host.id).get_or_insert_with(HostPools::default);
    let pool = pools.pool(cluster, host, request);
    pool.acquire(request).await
}

/// The pools of one host on one worker. They drain when it goes.
#[derive(Default)]
struct HostPools(RefCell<Option<ClusterPools>>);

/// Those of one version of the cluster.
struct ClusterPools {
    cluster: Arc<ClusterInfo>,
    settings: Arc<ClusterProtocolOptions>,
    pools: Vec<Rc<Pool>>,
}

impl HostPools {
    fn pool(&self, cluster: &Rc<dyn Cluster>, host: &Arc<Host>, request: &PoolRequest) -> Rc<Pool> {
        let mut place = self.0.borrow_mut();
        // A new version of the cluster may want other connections: what is there drains.
        drop(place.take_if(|pools| !Arc::ptr_eq(&pools.cluster, cluster.info())));
        let pools = place.get_or_insert_with(|| ClusterPools {
            cluster: Arc::clone(cluster.info()),
            settings: ClusterProtocolOptions::of(cluster.info()),
            pools: Vec::new(),
        });
        let mut extra = Vec::new();
        if let (Some(transport), Some(downstream)) = (&pools.cluster.transport_socket, &request.downstream) {
            transport.extend_pool_key(&downstream.filter_state.borrow(), &mut extra);
        }
        let protocol = Protocol::choose(&pools.settings, request.downstream_version);
        let key = PoolKey { protocol, high_priority: request.high_priority, extra };
        if let Some(pool) = pools.pools.iter().find(|pool| pool.key == key) {
            return Rc::clone(pool);
        }
        let pool = Pool::new(key, cluster, host, &pools.settings);
        pools.pools.push(Rc::clone(&pool));
        pool
    }
}

impl Drop for ClusterPools {
    fn drop(&mut self) {
        self.pools.iter().for_each(|pool| pool.drain());
    }
}
