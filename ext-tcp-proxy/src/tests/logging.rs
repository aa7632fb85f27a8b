//! When connections are logged.

use std::{rc::Rc, time::Duration};

use tokio::{io::AsyncReadExt, io::AsyncWriteExt, task::LocalSet};
use underpass_core::address::Address;

use super::toys::*;

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_connection_may_be_logged_from_start_to_end() {
    let options = "access_log_options: {flush_access_log_on_start: true, flush_access_log_on_connected: true, \
                   access_log_flush_interval: 1s}";
    let proxy = Proxy::new(options);
    LocalSet::new()
        .run_until(async {
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hi").await.unwrap();
            host.read_exact(&mut [0; 2]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2500)).await;
            client.shutdown().await.unwrap();
            host.shutdown().await.unwrap();
            assert_eq!(served.end().await, "ok");
        })
        .await;
    let expected = [
        "TcpConnectionStart - attempts=0 rx=0 tx=0",
        "TcpUpstreamConnected - attempts=1 rx=0 tx=0",
        "TcpPeriodic - attempts=1 rx=2 tx=0",
        "TcpPeriodic - attempts=1 rx=2 tx=0",
        "TcpConnectionEnd - attempts=1 rx=2 tx=0",
    ];
    assert_eq!(proxy.log(), expected);
}

/// Envoy's filters exist before the first of a chain looks at the connection.
#[test]
fn a_connection_that_another_filter_turned_away_is_counted_and_logged() {
    let proxy = Proxy::new("");
    let info = proxy.server.stream(Address::internal_client(), Address::internal("inner", ""));
    proxy.filter.turned_away(&info);
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=0 rx=0 tx=0"]);
    assert_eq!(proxy.stat("downstream_cx_total"), 1);
}

/// As in Envoy, the log shows what was to be sent, the stats what was.
#[tokio::test(flavor = "current_thread")]
async fn bytes_that_could_not_be_written_any_more_are_logged_as_sent() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (_, host) = proxy.cluster_in_hand("up");
            drop(host);
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hi").await.unwrap();
            let info = Rc::clone(&served.info);
            served.end().await;
            assert_eq!(info.upstream.wire_bytes_sent.get(), 2);
            assert_eq!(proxy.cluster_stat("up", "upstream_cx_tx_bytes_total"), 0);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_old_fields_do_the_same() {
    let proxy = Proxy::new("flush_access_log_on_connected: true");
    LocalSet::new()
        .run_until(async {
            let (_, _host) = proxy.cluster_in_hand("up");
            let (_client, _served) = proxy.connect_inside();
            until("the log", || !proxy.log().is_empty()).await;
        })
        .await;
    assert_eq!(proxy.log()[0], "TcpUpstreamConnected - attempts=1 rx=0 tx=0");
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_is_dropped_is_logged_all_the_same() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (cluster, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hi").await.unwrap();
            host.read_exact(&mut [0; 2]).await.unwrap();
            assert!(proxy.log().is_empty());
            served.task.abort();
            assert!(served.task.await.unwrap_err().is_cancelled());
            assert_eq!(cluster.closed.borrow().len(), 1);
            assert!(served.info.completed_after.get().is_some());
        })
        .await;
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=2 tx=0"]);
    assert_eq!(proxy.stat("downstream_cx_rx_bytes_buffered"), 0);
}
