//! A proxy that consists of the filter, and of clusters that do what a test says.

mod clusters;
mod log;

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, spawn_local},
};
use underpass_core::{
    address::Address,
    cluster::PoolFailureReason,
    connection::{BoxFuture, ConnectionError},
    filter_state::{Entry, LifeSpan, SharedWithUpstream, object_factory},
    io::{BoxIo, LookAhead},
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
    stream_info::SharedStreamInfo,
    testing::{self, TestServer},
    user_space_socket::{DEFAULT_BUFFER_SIZE, PairOptions, UserSpaceSocket, pair},
    worker::Worker,
};

use self::clusters::{Opened, ToyCluster, ToyClusters};

/// The filter with its clusters.
pub(super) struct Proxy {
    pub(super) server: TestServer,
    pub(super) filter: Arc<dyn NetworkFilter>,
    worker: Rc<Worker>,
    clusters: Rc<ToyClusters>,
}

/// Builds the filter with these fields; `stat_prefix` is `p`.
pub(super) fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn NetworkFilter>, String> {
    let yaml = format!(
        "'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\nstat_prefix: p\n{fields}"
    );
    let config = testing::read::<dyn NetworkFilterConfig>(&yaml)?;
    server.build("", |context| config.build(context)).map_err(|error| error.to_string())
}

impl Proxy {
    /// One that connects to the cluster `up`, with these further fields. It logs.
    pub(super) fn new(fields: &str) -> Self {
        Self::with_routes(&format!("cluster: up\n{fields}"))
    }

    /// One with its routes among the fields.
    pub(super) fn with_routes(fields: &str) -> Self {
        let server = TestServer::default();
        let log = "access_log: [{name: log, typed_config: {'@type': type.googleapis.com/test.Log}}]";
        let filter = build(&server, &format!("{fields}\n{log}")).unwrap();
        let worker = server.worker();
        let clusters = Rc::<ToyClusters>::default();
        worker.set_cluster_manager(Rc::clone(&clusters) as _);
        Self { server, filter, worker, clusters }
    }

    /// Adds a cluster; `open` is given the number of earlier attempts.
    pub(super) fn cluster(
        &self,
        name: &str,
        open: impl Fn(usize) -> BoxFuture<'static, Opened> + 'static,
    ) -> Rc<ToyCluster> {
        let cluster = Rc::new(ToyCluster::new(name, &self.server.context.stats, open));
        self.clusters.add(name, &cluster);
        cluster
    }

    /// Adds a cluster that connects to this address.
    pub(super) fn cluster_at(&self, name: &str, address: SocketAddr) -> Rc<ToyCluster> {
        self.cluster(name, move |_| connect(address))
    }

    /// Adds a cluster every attempt of which fails.
    pub(super) fn failing_cluster(&self, name: &str, reason: PoolFailureReason) -> Rc<ToyCluster> {
        self.cluster(name, move |_| Box::pin(async move { Err(reason) }))
    }

    /// Adds a cluster that never gets anywhere.
    pub(super) fn silent_cluster(&self, name: &str) -> Rc<ToyCluster> {
        self.cluster(name, |_| Box::pin(std::future::pending()))
    }

    /// Adds a cluster whose only connection has its other end here.
    pub(super) fn cluster_in_hand(&self, name: &str) -> (Rc<ToyCluster>, UserSpaceSocket) {
        self.cluster_that_buffers(name, DEFAULT_BUFFER_SIZE)
    }

    /// The same, with so many bytes of buffer in between.
    pub(super) fn cluster_that_buffers(&self, name: &str, bytes: usize) -> (Rc<ToyCluster>, UserSpaceSocket) {
        let options = PairOptions::new(Address::internal("host", "")).with_buffer_size(bytes);
        let (ours, hosts) = pair(options);
        let ours = Cell::new(Some(ours));
        let open = move |_| -> BoxFuture<'static, Opened> {
            let io = ours.take().map(|io| Box::new(io) as BoxIo);
            Box::pin(async move { io.ok_or(PoolFailureReason::RemoteConnectionFailure) })
        };
        (self.cluster(name, open), hosts)
    }

    /// A client on a real socket, whose connection is served in a task of its own.
    pub(super) async fn connect(&self) -> (TcpStream, Served) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        (client, self.serve(Box::new(accepted), remote.into(), local.into(), |_| {}))
    }

    /// A client on a real socket that has sent this, all of which a listener filter has read ahead.
    pub(super) async fn connect_after_reading_ahead(&self, text: &str) -> (TcpStream, Served) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(local).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        client.write_all(text.as_bytes()).await.unwrap();
        let mut io: BoxIo = Box::new(accepted);
        LookAhead::new(&mut io).fill(text.len()).await.unwrap();
        (client, self.serve(io, remote.into(), local.into(), |_| {}))
    }

    /// A client inside the process.
    pub(super) fn connect_inside(&self) -> (UserSpaceSocket, Served) {
        self.connect_inside_with(|_| {})
    }

    /// The same, for which a filter before this one has done something.
    pub(super) fn connect_inside_with(
        &self,
        before: impl FnOnce(&SharedStreamInfo),
    ) -> (UserSpaceSocket, Served) {
        let local = Address::internal("outer", "");
        let (client, accepted) = pair(PairOptions::new(local.clone()));
        (client, self.serve(Box::new(accepted), Address::internal_client(), local, before))
    }

    fn serve(
        &self,
        io: BoxIo,
        remote: Address,
        local: Address,
        before: impl FnOnce(&SharedStreamInfo),
    ) -> Served {
        let connection = self.server.connection(&self.worker, io, remote, local);
        before(&connection.info);
        let (filter, info) = (Arc::clone(&self.filter), Rc::clone(&connection.info));
        let task = spawn_local(async move { filter.serve(connection, Next::new(&[])).await });
        Served { info, task }
    }

    /// A counter or gauge of the filter.
    pub(super) fn stat(&self, name: &str) -> u64 {
        self.server.find_stat(&format!("tcp.p.{name}")).unwrap()
    }

    /// A counter or gauge of a cluster.
    pub(super) fn cluster_stat(&self, cluster: &str, name: &str) -> u64 {
        self.server.find_stat(&format!("cluster.{cluster}.{name}")).unwrap()
    }

    /// What was logged.
    pub(super) fn log(&self) -> Vec<String> {
        self.server.logged("log")
    }
}

/// A connection that is being served.
pub(super) struct Served {
    pub(super) info: SharedStreamInfo,
    pub(super) task: JoinHandle<Result<(), ConnectionError>>,
}

impl Served {
    /// How it ended: `ok`, or the error.
    pub(super) async fn end(self) -> String {
        self.task.await.unwrap().map_or_else(|error| error.to_string(), |()| "ok".to_owned())
    }
}

/// Leaves an object in the filter state, as `set_filter_state` does.
pub(super) fn leave(info: &SharedStreamInfo, name: &str, factory: &str, text: &str) {
    let entry = Entry {
        object: (object_factory(factory).unwrap().create)(text).unwrap(),
        read_only: false,
        life_span: LifeSpan::Connection,
        shared_with_upstream: SharedWithUpstream::Once,
    };
    info.filter_state.borrow_mut().set(name, entry).unwrap();
}

/// Connects over TCP.
pub(super) fn connect(address: SocketAddr) -> BoxFuture<'static, Opened> {
    Box::pin(async move {
        let connected = TcpStream::connect(address).await;
        connected
            .map(|socket| Box::new(socket) as BoxIo)
            .map_err(|_| PoolFailureReason::RemoteConnectionFailure)
    })
}

/// A host that serves one connection.
pub(super) async fn host<F: Future<Output = ()> + 'static>(
    serve: impl FnOnce(TcpStream) -> F + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move { serve(listener.accept().await.unwrap().0).await });
    address
}

/// A host that sends back what it receives, and then the end.
pub(super) async fn echo_host() -> SocketAddr {
    host(|mut socket| async move {
        let (mut reader, mut writer) = socket.split();
        // A client may go away in the middle.
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    })
    .await
}

/// Sends and reads back as much.
pub(super) async fn ask(client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), text: &str) -> String {
    client.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    client.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads to the end: the bytes, and `EOF` or the kind of error.
pub(super) async fn read_to_end(client: &mut (impl AsyncReadExt + Unpin)) -> (String, String) {
    let mut bytes = Vec::new();
    let end = client.read_to_end(&mut bytes).await;
    let end = end.map_or_else(|error| error.kind().to_string(), |_| "EOF".to_owned());
    (String::from_utf8(bytes).unwrap(), end)
}

/// Waits for a condition that other tasks bring about, for at most five seconds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "in vain waited for: {what}");
        tokio::task::yield_now().await;
    }
}
