//! Circuit breakers, as real Envoy behaves at its limits.

use futures_util::FutureExt;

use super::*;

fn limited(address: SocketAddr, limits: &str) -> String {
    cluster(&[socket(address)], &format!("circuit_breakers: {{{limits}}}"))
}

#[tokio::test]
async fn no_more_connections_than_allowed() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "thresholds: [{max_connections: 2}]")).unwrap();
    let counts = LocalSet::new().run_until(async { open_many(&test.worker(), 3).await }).await;
    assert_eq!(counts, (2, vec![PoolFailureReason::ConnectionOverflow]));
    assert_eq!(test.server.stat("cluster.up.upstream_cx_overflow"), 1);
    assert_eq!(test.server.stat("cluster.up.circuit_breakers.default.cx_open"), 0, "all are closed again");
}

#[tokio::test]
async fn nobody_may_wait_where_that_is_forbidden() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "thresholds: [{max_pending_requests: 0}]")).unwrap();
    let counts = LocalSet::new().run_until(async { open_many(&test.worker(), 1).await }).await;
    assert_eq!(counts, (0, vec![PoolFailureReason::PendingOverflow]));
    insta::assert_snapshot!(test.counted("up"), @"upstream_rq_pending_overflow: 1");
}

// Envoy asks max_requests for HTTP only.
#[tokio::test]
async fn streams_of_bytes_are_not_limited_by_the_number_of_requests() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "thresholds: [{max_requests: 1}]")).unwrap();
    let counts = LocalSet::new().run_until(async { open_many(&test.worker(), 2).await }).await;
    assert_eq!(counts, (2, vec![]));
}

#[tokio::test]
async fn a_stream_waits_for_a_place_at_its_host() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "per_host_thresholds: [{max_connections: 1}]")).unwrap();
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            let first = open_tcp(&worker, "up").await.unwrap();
            let mut second = Box::pin(open_tcp(&worker, "up"));
            assert!(second.as_mut().now_or_never().is_none());
            insta::assert_snapshot!(test.counted("up"), @"
            upstream_cx_active: 1
            upstream_cx_overflow: 1
            upstream_cx_total: 1
            upstream_rq_active: 1
            upstream_rq_pending_active: 1
            upstream_rq_pending_total: 2
            upstream_rq_total: 1
            ");
            first.lease.close(ClosedBy::Remote);
            assert!(second.await.is_ok());
            assert_eq!(test.server.stat("cluster.up.upstream_cx_overflow"), 1);
        })
        .await;
}

#[tokio::test]
async fn a_stream_that_waited_in_vain_leaves_nothing_behind() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "per_host_thresholds: [{max_connections: 1}]")).unwrap();
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            let first = open_tcp(&worker, "up").await.unwrap();
            let mut waiting = Box::pin(open_tcp(&worker, "up"));
            assert!(waiting.as_mut().now_or_never().is_none());
            drop(waiting);
            assert_eq!(test.server.stat("cluster.up.upstream_rq_cancelled"), 1);
            assert_eq!(test.server.stat("cluster.up.upstream_rq_pending_active"), 0);
            first.lease.close(ClosedBy::Remote);
            assert!(open_tcp(&worker, "up").await.is_ok());
        })
        .await;
}

// A worker without a connection to the host would wait for ever: there is nothing of its own that could end.
#[tokio::test]
async fn a_worker_that_has_no_connection_may_always_open_one() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "per_host_thresholds: [{max_connections: 0}]")).unwrap();
    let counts = LocalSet::new().run_until(async { open_many(&test.worker(), 1).await }).await;
    assert_eq!(counts, (1, vec![]));
    assert_eq!(test.server.stat("cluster.up.upstream_cx_overflow"), 1);
}

#[tokio::test]
async fn the_high_priority_has_limits_of_its_own() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    let limits =
        "thresholds: [{max_connections: 0}, {priority: HIGH, max_connections: 1, track_remaining: true}]";
    test.add(&limited(address, limits)).unwrap();
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            assert!(open_tcp(&worker, "up").await.is_err());
            let cluster = worker.cluster_manager().unwrap().cluster("up").unwrap();
            let context = LoadBalancerContext { high_priority: true, ..LoadBalancerContext::default() };
            assert_eq!(test.server.stat("cluster.up.circuit_breakers.high.remaining_cx"), 1);
            let _open = cluster.open_tcp(&context).await.unwrap();
            assert_eq!(test.server.stat("cluster.up.circuit_breakers.high.remaining_cx"), 0);
            assert_eq!(test.server.stat("cluster.up.circuit_breakers.high.cx_open"), 1);
        })
        .await;
}

#[tokio::test]
async fn a_pool_asks_before_it_opens_a_connection() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&limited(address, "thresholds: [{max_connections: 1}]")).unwrap();
    LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            let cluster = worker.cluster_manager().unwrap().cluster("up").unwrap();
            let context = LoadBalancerContext::default();
            let host = cluster.choose_host(&context).unwrap();
            assert!(cluster.may_open(&host, false));
            let _first = cluster.open(&host, &context).await.unwrap();
            assert!(!cluster.may_open(&host, false));
            assert_eq!(test.server.stat("cluster.up.upstream_cx_overflow"), 1);
        })
        .await;
}

#[tokio::test]
async fn two_hundred_connections_leave_nothing_open() {
    let (listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], "")).unwrap();
    let accept = async {
        let mut served = Vec::new();
        for _ in 0..200 {
            served.push(listener.accept().await.unwrap());
        }
        served
    };
    let local = LocalSet::new();
    let open = local.run_until(async {
        let worker = test.worker();
        let opened = futures_util::future::join_all((0..200).map(|_| open_tcp(&worker, "up"))).await;
        assert_eq!(opened.iter().filter(|connection| connection.is_ok()).count(), 200);
        assert_eq!(test.server.stat("cluster.up.upstream_cx_active"), 200);
    });
    tokio::join!(accept, open);
    assert_eq!(test.server.stat("cluster.up.upstream_cx_active"), 0);
    assert_eq!(test.server.stat("cluster.up.upstream_cx_destroy"), 200);
}
