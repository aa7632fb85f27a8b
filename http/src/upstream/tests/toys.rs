//! A cluster of one host, and servers that do what a test says.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, uri::Scheme};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use underpass_core::{
    cluster::{
        ClosedBy, Cluster, ClusterInfo, ConnectionLease, Host, LoadBalancerContext, PoolFailure,
        PoolFailureReason, UpstreamConnection,
    },
    connection::BoxFuture,
    stats::Scope,
    testing::TestServer,
    worker::Worker,
};

use crate::{
    Body, RequestHead,
    protocol_options::ClusterProtocolOptions,
    upstream::{PoolRequest, PooledStream, acquire},
};

/// What a test needs.
pub(crate) struct Toys {
    pub(crate) server: TestServer,
    pub(crate) worker: Rc<Worker>,
    pub(crate) cluster: Rc<dyn Cluster>,
    pub(crate) host: Arc<Host>,
    pub(crate) listener: Rc<TcpListener>,
}

/// Runs a test on a worker, with a deadline.
pub(crate) fn on_a_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let run = local.run_until(async { tokio::time::timeout(Duration::from_secs(10), test).await });
    runtime.block_on(run).expect("a test that does not end");
}

impl Toys {
    pub(crate) async fn new(options: ClusterProtocolOptions) -> Self {
        Self::with(options, |_| {}).await
    }

    pub(crate) async fn with(options: ClusterProtocolOptions, change: impl FnOnce(&mut ClusterInfo)) -> Self {
        let server = TestServer::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut info = ClusterInfo::new("up", &server.stats.scope(""));
        info.protocol_options.push(Arc::new(options));
        change(&mut info);
        let host = Arc::new(Host::new(1, address.into()));
        let cluster: Rc<dyn Cluster> = Rc::new(ToyCluster { info: Arc::new(info), address });
        let worker = server.worker();
        Self { worker, server, cluster, host, listener: Rc::new(listener) }
    }

    pub(crate) async fn acquire(&self) -> Result<PooledStream, PoolFailure> {
        acquire(&self.worker, &self.cluster, &self.host, &PoolRequest::default()).await
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.server.find_stat(&format!("cluster.up.{name}")).unwrap_or_default()
    }

    /// What was counted, of what tells how connections and requests fared.
    pub(crate) fn counted(&self) -> String {
        const TOLD: [&str; 12] = [
            "closed_local",
            "closed_remote",
            "closed_with_request",
            "upstream_cx_close_notify",
            "upstream_cx_idle_timeout",
            "upstream_cx_max_requests",
            "upstream_cx_protocol_error",
            "upstream_rq_active",
            "upstream_rq_pending_failure_eject",
            "upstream_rq_rx_reset",
            "upstream_rq_tx_reset",
            "http2.streams_active",
        ];
        let told = TOLD.iter().map(|name| (name, self.stat(name))).filter(|(_, value)| *value > 0);
        told.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    }

    /// Waits until a stat has a value.
    pub(crate) async fn until(&self, name: &str, value: u64) {
        for _ in 0..2000 {
            if self.stat(name) == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{name} is {}, not {value}", self.stat(name));
    }
}

struct ToyCluster {
    info: Arc<ClusterInfo>,
    address: SocketAddr,
}

/// Counts an end into stats of its own.
struct ToyLease(Scope);

impl ConnectionLease for ToyLease {
    fn close(self: Box<Self>, by: ClosedBy) {
        self.0.counter("upstream_cx_destroyed").inc();
        self.0.counter(&format!("closed_{by:?}").to_lowercase()).inc();
    }

    fn close_with_request(self: Box<Self>, by: ClosedBy) {
        self.0.counter("closed_with_request").inc();
        self.close(by);
    }
}

impl Cluster for ToyCluster {
    fn info(&self) -> &Arc<ClusterInfo> {
        &self.info
    }

    fn choose_host(&self, _: &LoadBalancerContext<'_>) -> Option<Arc<Host>> {
        None
    }

    fn open<'a>(
        &'a self,
        host: &'a Arc<Host>,
        _: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        Box::pin(async move {
            let io = TcpStream::connect(self.address).await.map_err(|_| PoolFailure {
                reason: PoolFailureReason::RemoteConnectionFailure,
                transport_failure_reason: Some("delayed_connect_error:_Connection_refused".into()),
                host: Some(Arc::clone(host)),
            })?;
            self.info.stats.upstream_cx_total.inc();
            Ok(UpstreamConnection {
                io: Box::new(io),
                host: Arc::clone(host),
                cluster: Arc::clone(&self.info),
                local_address: None,
                remote_address: host.address.clone(),
                connection_id: 1,
                lease: Box::new(ToyLease(self.info.scope.clone())),
            })
        })
    }

    fn open_tcp<'a>(
        &'a self,
        _: &'a LoadBalancerContext<'a>,
    ) -> BoxFuture<'a, Result<UpstreamConnection, PoolFailure>> {
        Box::pin(std::future::pending())
    }
}

/// A request's head.
pub(crate) fn head(method: Method, authority: &'static str, path: &'static str) -> RequestHead {
    RequestHead {
        scheme: Scheme::HTTP,
        authority: HeaderValue::from_static(authority),
        path: (method != Method::CONNECT).then(|| path.parse().unwrap()),
        method,
        headers: HeaderMap::new(),
        version: Version::HTTP_11,
    }
}

/// All of a body, as text.
pub(crate) async fn text(body: Body) -> String {
    let bytes: Bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads from a connection until what was read ends so.
pub(crate) async fn read_until(io: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let n = io.read_buf(&mut read).await.unwrap();
        assert!(n > 0, "the end came after {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

/// Reads a request's head and answers.
pub(crate) async fn answer(io: &mut TcpStream, answer: &str) -> String {
    let request = read_until(io, "\r\n\r\n").await;
    io.write_all(answer.as_bytes()).await.unwrap();
    request
}
