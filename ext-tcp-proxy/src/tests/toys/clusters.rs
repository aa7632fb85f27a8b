//! Clusters that do what a test says.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use underpass_core::{
    address::Address,
    cluster::{
        ClosedBy, Cluster, ClusterInfo, ClusterManager, ConnectionLease, Host, LoadBalancerContext,
        PoolFailure, PoolFailureReason, UpstreamConnection,
    },
    config::Value,
    connection::BoxFuture,
    io::BoxIo,
    stats::Scope,
};

/// What an attempt to connect comes to.
pub(crate) type Opened = Result<BoxIo, PoolFailureReason>;

/// How a cluster was asked for a connection.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) hash: Option<u64>,
    pub(crate) metadata_match: Option<BTreeMap<String, Value>>,
}

/// A cluster of one host, which does what a test says.
pub(crate) struct ToyCluster {
    info: Arc<ClusterInfo>,
    host: Arc<Host>,
    open: Box<dyn Fn(usize) -> BoxFuture<'static, Opened>>,
    /// How it was asked, each time.
    pub(crate) asked: RefCell<Vec<Asked>>,
    /// How many connections it is opening.
    pub(crate) opening: Cell<usize>,
    /// Who closed its connections.
    pub(crate) closed: Rc<RefCell<Vec<ClosedBy>>>,
}

impl Cluster for ToyCluster {
    fn info(&self) -> &Arc<ClusterInfo> {
        &self.info
    }

    fn choose_host(&self, _: &LoadBalancerContext<'_>) -> Option<Arc<Host>> {
        Some(Arc::clone(&self.host))
    }

    fn open<'a>(
        &'a self,
        _: &'a Arc<Host>,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        self.open_tcp(context)
    }

    fn open_tcp<'a>(
        &'a self,
        context: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        let before = self.asked.borrow().len();
        let asked = Asked { hash: context.hash, metadata_match: context.metadata_match.cloned() };
        self.asked.borrow_mut().push(asked);
        let opening = Opening::new(&self.opening);
        Box::pin(async move {
            let _opening = opening;
            (self.open)(before).await.map(|io| self.connection(io)).map_err(|reason| self.failure(reason))
        })
    }
}

impl ToyCluster {
    /// A cluster with its stats below `stats`; `open` is given the number of earlier attempts.
    pub(crate) fn new(
        name: &str,
        stats: &Scope,
        open: impl Fn(usize) -> BoxFuture<'static, Opened> + 'static,
    ) -> Self {
        Self {
            info: Arc::new(ClusterInfo::new(name, stats)),
            host: Arc::new(Host::new(1, Address::internal("host", ""))),
            open: Box::new(open),
            asked: RefCell::default(),
            opening: Cell::new(0),
            closed: Rc::default(),
        }
    }

    fn connection(&self, io: BoxIo) -> UpstreamConnection {
        UpstreamConnection {
            io,
            host: Arc::clone(&self.host),
            cluster: Arc::clone(&self.info),
            local_address: Some(Address::internal_client()),
            remote_address: self.host.address.clone(),
            connection_id: 7,
            lease: Box::new(Lease { closed: Rc::clone(&self.closed), told: false }),
        }
    }

    fn failure(&self, reason: PoolFailureReason) -> PoolFailure {
        use PoolFailureReason::{LocalConnectionFailure, RemoteConnectionFailure, Timeout};
        let tried = matches!(reason, RemoteConnectionFailure | LocalConnectionFailure | Timeout);
        let refused =
            (reason == RemoteConnectionFailure).then(|| "delayed_connect_error:_Connection_refused".into());
        PoolFailure { reason, transport_failure_reason: refused, host: tried.then(|| Arc::clone(&self.host)) }
    }
}

/// Counts an attempt as long as it lasts.
struct Opening<'a>(&'a Cell<usize>);

impl<'a> Opening<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Tells who closed a connection.
struct Lease {
    closed: Rc<RefCell<Vec<ClosedBy>>>,
    told: bool,
}

impl ConnectionLease for Lease {
    fn close(mut self: Box<Self>, by: ClosedBy) {
        self.told = true;
        self.closed.borrow_mut().push(by);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.told {
            self.closed.borrow_mut().push(ClosedBy::Local);
        }
    }
}

/// The clusters of a worker.
#[derive(Default)]
pub(crate) struct ToyClusters(RefCell<HashMap<String, Rc<ToyCluster>>>);

impl ToyClusters {
    pub(crate) fn add(&self, name: &str, cluster: &Rc<ToyCluster>) {
        self.0.borrow_mut().insert(name.to_owned(), Rc::clone(cluster));
    }
}

impl ClusterManager for ToyClusters {
    fn cluster(&self, name: &str) -> Option<Rc<dyn Cluster>> {
        self.0.borrow().get(name).map(|cluster| Rc::clone(cluster) as _)
    }

    fn changed<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(std::future::pending())
    }
}
