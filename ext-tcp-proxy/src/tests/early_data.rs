//! What a client sends before there is an upstream connection, where that is wanted.

use tokio::{io::AsyncWriteExt, task::LocalSet};
use underpass_core::{cluster::PoolFailureReason::RemoteConnectionFailure, io::Io};

use super::toys::*;

const ON_DATA: &str = "upstream_connect_mode: ON_DOWNSTREAM_DATA\nmax_early_data_bytes: 10";

#[tokio::test(flavor = "current_thread")]
async fn the_first_bytes_open_the_connection_and_reach_the_host() {
    let proxy = Proxy::new(ON_DATA);
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.cluster_at("up", echo_host().await);
            let (mut client, served) = proxy.connect().await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(cluster.asked.borrow().is_empty(), "connected before there was data");
            assert_eq!(ask(&mut client, "more than ten bytes").await, "more than ten bytes");
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.1, "EOF");
            assert_eq!(served.end().await, "ok");
        })
        .await;
    assert_eq!(proxy.stat("early_data_received_count_total"), 1);
    assert_eq!(proxy.cluster_stat("up", "upstream_cx_tx_bytes_total"), 19);
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=19 tx=19"]);
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_that_were_read_ahead_make_a_failure_an_orderly_close() {
    let proxy = Proxy::new(ON_DATA);
    LocalSet::new()
        .run_until(async {
            proxy.failing_cluster("up", RemoteConnectionFailure);
            let (mut client, served) = proxy.connect().await;
            client.write_all(b"hello").await.unwrap();
            assert_eq!(read_to_end(&mut client).await.1, "EOF");
            served.end().await;
        })
        .await;
    assert_eq!(proxy.log(), ["TcpConnectionEnd UF,URX attempts=1 rx=5 tx=0"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_finishes_without_a_byte_gets_no_connection() {
    let proxy = Proxy::new(ON_DATA);
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.silent_cluster("up");
            let (mut client, served) = proxy.connect_inside();
            client.shutdown().await.unwrap();
            until("the end to be read", || proxy.stat("early_data_received_count_total") == 1).await;
            client.reset();
            assert_eq!(served.end().await, "downstream: connection reset");
            assert!(cluster.asked.borrow().is_empty());
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn reading_ahead_stops_at_the_limit() {
    let proxy = Proxy::new("max_early_data_bytes: 10");
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.silent_cluster("up");
            let (mut client, _served) = proxy.connect_inside();
            let received = || proxy.stat("downstream_cx_rx_bytes_total");
            until("an attempt", || cluster.opening.get() == 1).await;
            client.write_all(b"sixsix").await.unwrap();
            until("the first bytes", || received() == 6).await;
            client.write_all(b"sixsix").await.unwrap();
            until("the next bytes", || received() == 12).await;
            client.write_all(b"no more").await.unwrap();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(received(), 12);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn another_filter_may_ask_for_one_read_ahead() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.silent_cluster("up");
            let (mut client, _served) = proxy.connect_inside_with(|info| {
                leave(info, "envoy.tcp_proxy.receive_before_connect", "envoy.bool", "true");
            });
            until("an attempt", || cluster.opening.get() == 1).await;
            client.write_all(b"hello").await.unwrap();
            until("a read", || proxy.stat("downstream_cx_rx_bytes_total") == 5).await;
        })
        .await;
}
