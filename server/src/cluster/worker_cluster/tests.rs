mod limits;
mod sockets;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::LocalSet,
};
use underpass_core::{
    address::AddressKind,
    client_connection::{ClientConnectionFactory, ConnectContext, ConnectError, ConnectedSocket},
    cluster::{ClosedBy, Host, HostMonitor, LoadBalancerContext, Outcome, PoolFailure, PoolFailureReason},
    connection::BoxFuture,
    worker::Worker,
};

use crate::{
    client_connection::Factories,
    cluster_manager::test_manager::{TestManager, open_tcp},
};

/// A cluster of these endpoints, and more fields.
fn cluster(endpoints: &[String], more: &str) -> String {
    let endpoints =
        endpoints.iter().fold(String::new(), |all, endpoint| all + "    - endpoint: " + endpoint + "\n");
    format!(
        "name: up\nload_assignment:\n  cluster_name: up\n  endpoints:\n  - lb_endpoints:\n{endpoints}{more}\n"
    )
}

fn socket(address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("{{address: {{socket_address: {{address: \"{ip}\", port_value: {port}}}}}}}")
}

/// A port where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reason and words of a failure.
fn told(result: Result<impl Sized, PoolFailure>) -> (PoolFailureReason, Option<String>) {
    let failure = result.err().unwrap();
    (failure.reason, failure.transport_failure_reason)
}

/// Factories of which that for IP addresses never connects.
fn black_hole() -> Factories {
    struct BlackHole;
    impl ClientConnectionFactory for BlackHole {
        fn connect<'a>(
            &'a self,
            _context: &'a mut ConnectContext<'_>,
        ) -> BoxFuture<'a, Result<ConnectedSocket, ConnectError>> {
            Box::pin(std::future::pending())
        }
    }
    Factories::linked().unwrap().with(AddressKind::Socket, Arc::new(BlackHole))
}

#[tokio::test]
async fn a_connection_is_counted_as_envoy_counts_it() {
    let (listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], "")).unwrap();
    let serve = async {
        let (mut served, _) = listener.accept().await.unwrap();
        let mut word = [0; 5];
        served.read_exact(&mut word).await.unwrap();
        served.write_all(&word).await.unwrap();
    };
    let local = LocalSet::new();
    let connect = local.run_until(async {
        let worker = test.worker();
        let mut connection = open_tcp(&worker, "up").await.unwrap();
        assert_eq!(connection.remote_address.socket(), Some(address));
        assert_eq!(connection.connection_id, 1);
        connection.io.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        connection.io.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        insta::assert_snapshot!(test.counted("up"), @"
        upstream_cx_active: 1
        upstream_cx_total: 1
        upstream_rq_active: 1
        upstream_rq_pending_total: 1
        upstream_rq_total: 1
        ");
        connection.lease.close(ClosedBy::Remote);
    });
    tokio::join!(serve, connect);
    insta::assert_snapshot!(test.counted("up"), @"
    upstream_cx_destroy: 1
    upstream_cx_destroy_remote: 1
    upstream_cx_destroy_remote_with_active_rq: 1
    upstream_cx_destroy_with_active_rq: 1
    upstream_cx_total: 1
    upstream_rq_pending_total: 1
    upstream_rq_total: 1
    ");
    let host = &test.manager.statuses()[0].hosts[0];
    let stats: Vec<_> = host.stats.iter().filter(|(_, value)| *value > 0).collect();
    assert_eq!(stats, [&("cx_total", 1), &("rq_total", 1)]);
}

#[tokio::test]
async fn a_connection_that_is_just_dropped_was_closed_here() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], "")).unwrap();
    LocalSet::new().run_until(async { drop(open_tcp(&test.worker(), "up").await.unwrap()) }).await;
    assert_eq!(test.server.stat("cluster.up.upstream_cx_destroy_local_with_active_rq"), 1);
    assert_eq!(test.server.stat("cluster.up.upstream_cx_active"), 0);
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let test = TestManager::new();
    test.add(&cluster(&[socket(nobody().await)], "")).unwrap();
    let result = LocalSet::new().run_until(async { open_tcp(&test.worker(), "up").await }).await;
    let words = "delayed_connect_error:_Connection_refused".to_owned();
    assert_eq!(told(result), (PoolFailureReason::RemoteConnectionFailure, Some(words)));
    insta::assert_snapshot!(test.counted("up"), @"
    upstream_cx_connect_fail: 1
    upstream_cx_destroy: 1
    upstream_cx_destroy_remote: 1
    upstream_cx_total: 1
    upstream_rq_pending_failure_eject: 1
    upstream_rq_pending_total: 1
    ");
    let host = &test.manager.statuses()[0].hosts[0];
    let stats: Vec<_> = host.stats.iter().filter(|(_, value)| *value > 0).collect();
    assert_eq!(stats, [&("cx_connect_fail", 1), &("cx_total", 1)]);
}

// No crate for internal addresses is linked into this test, as if the bootstrap extension was missing.
#[tokio::test]
async fn an_internal_listener_that_cannot_be_reached_fails_at_once() {
    let test = TestManager::new();
    let nope = "{address: {envoy_internal_address: {server_listener_name: nope}}}".to_owned();
    test.add(&cluster(&[nope], "")).unwrap();
    let result = LocalSet::new().run_until(async { open_tcp(&test.worker(), "up").await }).await;
    let words = "immediate_connect_error:_Invalid_argument|remote_address:envoy://nope/".to_owned();
    assert_eq!(told(result), (PoolFailureReason::RemoteConnectionFailure, Some(words)));
    insta::assert_snapshot!(test.counted("up"), @"
    upstream_cx_connect_fail: 1
    upstream_cx_destroy: 1
    upstream_cx_destroy_remote: 1
    upstream_cx_total: 1
    upstream_rq_pending_failure_eject: 1
    upstream_rq_pending_total: 1
    ");
}

#[tokio::test(start_paused = true)]
async fn connecting_may_take_only_so_long() {
    let test = TestManager::with_factories(black_hole());
    test.add(&cluster(&[socket(([192, 0, 2, 1], 80).into())], "connect_timeout: 3s")).unwrap();
    let start = tokio::time::Instant::now();
    let result = LocalSet::new().run_until(async { open_tcp(&test.worker(), "up").await }).await;
    assert_eq!(told(result), (PoolFailureReason::Timeout, None));
    assert_eq!(start.elapsed().as_secs(), 3);
    insta::assert_snapshot!(test.counted("up"), @"
    upstream_cx_connect_fail: 1
    upstream_cx_connect_timeout: 1
    upstream_cx_destroy: 1
    upstream_cx_destroy_local: 1
    upstream_cx_total: 1
    upstream_rq_pending_failure_eject: 1
    upstream_rq_pending_total: 1
    ");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_away_takes_its_connection_along() {
    let test = TestManager::with_factories(black_hole());
    test.add(&cluster(&[socket(([192, 0, 2, 1], 80).into())], "")).unwrap();
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            let given_up = tokio::time::timeout(Duration::from_secs(1), open_tcp(&worker, "up")).await;
            assert!(given_up.is_err());
        })
        .await;
    insta::assert_snapshot!(test.counted("up"), @"
    upstream_cx_destroy: 1
    upstream_cx_destroy_local: 1
    upstream_cx_total: 1
    upstream_rq_cancelled: 1
    upstream_rq_pending_total: 1
    ");
}

#[tokio::test]
async fn without_hosts_nobody_is_connected_to() {
    let test = TestManager::new();
    test.add("name: up").unwrap();
    let result = LocalSet::new().run_until(async { open_tcp(&test.worker(), "up").await }).await;
    assert_eq!(told(result), (PoolFailureReason::NoHealthyHost, None));
    insta::assert_snapshot!(test.counted("up"), @"
    lb_healthy_panic: 1
    upstream_cx_none_healthy: 1
    ");
}

#[tokio::test]
async fn a_pool_opens_connections_without_requests() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], "")).unwrap();
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            let cluster = worker.cluster_manager().unwrap().cluster("up").unwrap();
            let context = LoadBalancerContext::default();
            let host = cluster.choose_host(&context).unwrap();
            let connection = cluster.open(&host, &context).await.unwrap();
            insta::assert_snapshot!(test.counted("up"), @"
            upstream_cx_active: 1
            upstream_cx_total: 1
            ");
            connection.lease.close(ClosedBy::Local);
        })
        .await;
    insta::assert_snapshot!(test.counted("up"), @"
    upstream_cx_destroy: 1
    upstream_cx_destroy_local: 1
    upstream_cx_total: 1
    ");
}

/// Notes what it hears.
#[derive(Default)]
struct Notes(Mutex<Vec<Outcome>>);

impl HostMonitor for Notes {
    fn observe(&self, _host: &Arc<Host>, outcome: Outcome) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
    }
}

#[tokio::test]
async fn a_monitor_hears_what_becomes_of_connections() {
    let (listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], "")).unwrap();
    let notes = Arc::new(Notes::default());
    let host = test.manager.shared("up").unwrap().membership.hosts().remove(0);
    assert!(host.monitor.set(Arc::clone(&notes) as _).is_ok());
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            drop(open_tcp(&worker, "up").await.unwrap());
            drop(listener);
            assert!(open_tcp(&worker, "up").await.is_err());
        })
        .await;
    assert_eq!(*notes.0.lock().unwrap(), [Outcome::Connected, Outcome::ConnectFailed]);
}

/// Opens so many connections at once; those that came about, and the reasons of the others.
async fn open_many(worker: &Worker, count: usize) -> (usize, Vec<PoolFailureReason>) {
    let mut open = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..count {
        match open_tcp(worker, "up").await {
            Ok(connection) => open.push(connection),
            Err(failure) => refused.push(failure.reason),
        }
    }
    (open.len(), refused)
}
