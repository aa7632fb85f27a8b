//! Clients on real sockets in front of the filter.

use std::{rc::Rc, sync::Arc, time::Instant};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, LocalSet, spawn_local},
};
use underpass_core::{
    network_filter::NetworkFilterConfig,
    runtime::Layer,
    stream_info::{SharedStreamInfo, StreamInfo},
    testing::{self, TestServer},
};

use super::*;

fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn NetworkFilter>, String> {
    let yaml = format!(
        "'@type': type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit\n{fields}"
    );
    let config = testing::read::<dyn NetworkFilterConfig>(&yaml)?;
    server.build("", |context| config.build(context)).map_err(|error| error.to_string())
}

/// The rest of the chain: holds the connection until it is told to let go.
#[derive(Default)]
struct Hold {
    let_go: Notify,
    turned_away: AtomicU64,
}

impl NetworkFilter for Hold {
    fn serve<'a>(
        &'a self,
        connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            self.let_go.notified().await;
            drop(connection);
            Ok(())
        })
    }

    fn turned_away(&self, _: &StreamInfo) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

struct Chain {
    server: TestServer,
    hold: Arc<Hold>,
    filters: Rc<[Arc<dyn NetworkFilter>; 2]>,
}

impl Chain {
    fn new(server: TestServer, fields: &str) -> Self {
        let hold = Arc::new(Hold::default());
        let filters = Rc::new([build(&server, fields).unwrap(), Arc::clone(&hold) as _]);
        Self { server, hold, filters }
    }

    /// A client whose connection is being served.
    async fn connect(&self) -> (TcpStream, SharedStreamInfo, JoinHandle<Result<(), ConnectionError>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        let worker = self.server.worker();
        let connection = self.server.connection(&worker, Box::new(accepted), remote.into(), address.into());
        let (info, filters) = (SharedStreamInfo::clone(&connection.info), Rc::clone(&self.filters));
        let served = spawn_local(async move { Next::new(&*filters).run(connection).await });
        // Lets the filter decide.
        tokio::task::yield_now().await;
        (client, info, served)
    }

    fn active(&self) -> u64 {
        self.server.find_stat("connection_limit.lim.active_connections").unwrap()
    }

    fn limited(&self) -> u64 {
        self.server.counter("connection_limit.lim.limited_connections")
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_over_the_limit_is_closed_until_a_place_is_free() {
    let chain = Chain::new(TestServer::default(), "stat_prefix: lim\nmax_connections: 1");
    LocalSet::new()
        .run_until(async {
            let (_first, _, first_served) = chain.connect().await;
            assert_eq!((chain.active(), chain.limited()), (1, 0));

            let (mut second, info, second_served) = chain.connect().await;
            assert_eq!(second_served.await.unwrap().unwrap_err().to_string(), "over_connection_limit");
            assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
            assert_eq!(
                info.details.downstream_local_close_reason.borrow().as_deref(),
                Some("over_connection_limit")
            );
            assert_eq!((chain.active(), chain.limited()), (1, 1));
            assert_eq!(chain.hold.turned_away.load(Ordering::Relaxed), 1);

            chain.hold.let_go.notify_waiters();
            first_served.await.unwrap().unwrap();
            assert_eq!(chain.active(), 0);
            let (_third, _, _served) = chain.connect().await;
            assert_eq!((chain.active(), chain.limited()), (1, 1));
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_is_dropped_frees_its_place() {
    let chain = Chain::new(TestServer::default(), "stat_prefix: lim\nmax_connections: 1");
    LocalSet::new()
        .run_until(async {
            let (_client, _, served) = chain.connect().await;
            served.abort();
            assert!(served.await.unwrap_err().is_cancelled());
            assert_eq!(chain.active(), 0);
            chain.connect().await;
            assert_eq!(chain.limited(), 0);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn with_a_delay_the_close_waits_and_is_orderly() {
    let chain = Chain::new(TestServer::default(), "stat_prefix: lim\nmax_connections: 1\ndelay: 0.2s");
    LocalSet::new()
        .run_until(async {
            let (_first, ..) = chain.connect().await;
            let started = Instant::now();
            let (mut second, info, _) = chain.connect().await;
            second.write_all(b"hi").await.unwrap();
            assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
            assert!(started.elapsed() >= Duration::from_millis(200));
            assert_eq!(info.bytes_received.get(), 2);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_leaves_during_the_delay_is_let_go() {
    let chain = Chain::new(TestServer::default(), "stat_prefix: lim\nmax_connections: 1\ndelay: 3600s");
    LocalSet::new()
        .run_until(async {
            let (_first, ..) = chain.connect().await;
            let (second, _, served) = chain.connect().await;
            drop(second);
            served.await.unwrap().unwrap_err();
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_runtime_can_switch_it_off() {
    let layer = Layer {
        name: "test".into(),
        admin: false,
        values: [("limit.on".to_owned(), underpass_core::config::Value::Bool(false))].into(),
    };
    let server = TestServer::with_runtime(vec![layer]);
    let fields =
        "stat_prefix: lim\nmax_connections: 1\nruntime_enabled: {default_value: true, runtime_key: limit.on}";
    let chain = Chain::new(server, fields);
    LocalSet::new()
        .run_until(async {
            let (_first, ..) = chain.connect().await;
            let (_second, _, served) = chain.connect().await;
            assert!(!served.is_finished());
            assert_eq!((chain.active(), chain.limited()), (0, 0));
        })
        .await;
}

#[test]
fn what_envoy_refuses_is_refused() {
    let refused = |fields: &str| build(&TestServer::default(), fields).err().unwrap();
    insta::assert_snapshot!(refused("stat_prefix: a"), @"test.yaml:1:1: error: `max_connections` is missing");
    insta::assert_snapshot!(refused("stat_prefix: ''\nmax_connections: 1"), @"test.yaml:2:14: error: stat_prefix: value length must be at least 1 character");
    insta::assert_snapshot!(refused("stat_prefix: a\nmax_connections: 0"), @"test.yaml:3:18: error: max_connections: value must be greater than or equal to 1, not 0");
    insta::assert_snapshot!(refused("stat_prefix: a\nmax_connections: 1\nruntime_enabled: {runtime_key: x}"), @"test.yaml:4:18: error: runtime_enabled.default_value: value is required");
}
