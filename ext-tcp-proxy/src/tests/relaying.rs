//! Bytes on their way, and what is known of a connection meanwhile.

use std::num::NonZeroU64;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::LocalSet,
};
use underpass_core::address::Address;

use super::toys::*;
use crate::session::Session;

#[tokio::test(flavor = "current_thread")]
async fn bytes_pass_both_ways_and_are_counted() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            proxy.cluster_at("up", echo_host().await);
            let (mut client, served) = proxy.connect().await;
            assert_eq!(ask(&mut client, "hello").await, "hello");
            drop(client);
            assert_eq!(served.end().await, "ok");
        })
        .await;
    for name in ["downstream_cx_rx_bytes_total", "downstream_cx_tx_bytes_total"] {
        assert_eq!(proxy.stat(name), 5, "{name}");
    }
    for name in ["upstream_cx_rx_bytes_total", "upstream_cx_tx_bytes_total"] {
        assert_eq!(proxy.cluster_stat("up", name), 5, "{name}");
    }
    assert_eq!(proxy.stat("downstream_cx_total"), 1);
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=5 tx=5"]);
}

#[tokio::test(flavor = "current_thread")]
async fn gauges_show_an_open_connection_and_forget_it() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            proxy.cluster_at("up", echo_host().await);
            let (mut client, served) = proxy.connect().await;
            ask(&mut client, "seven77").await;
            // As in Envoy: what the last read brought.
            assert_eq!(proxy.stat("downstream_cx_rx_bytes_buffered"), 7);
            assert_eq!(proxy.cluster_stat("up", "upstream_cx_rx_bytes_buffered"), 7);
            drop(client);
            served.end().await;
        })
        .await;
    assert_eq!(proxy.stat("downstream_cx_rx_bytes_buffered"), 0);
    assert_eq!(proxy.cluster_stat("up", "upstream_cx_rx_bytes_buffered"), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_that_does_not_read_pauses_the_client() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect().await;
            let total = 8 * 1024 * 1024;
            let sent = tokio::task::spawn_local(async move {
                client.write_all(&vec![b'x'; total]).await.unwrap();
                client.shutdown().await.unwrap();
                client
            });
            let paused = || proxy.stat("downstream_flow_control_paused_reading_total");
            let resumed = || proxy.stat("downstream_flow_control_resumed_reading_total");
            until("a pause", || paused() > 0).await;
            assert!(proxy.cluster_stat("up", "upstream_cx_tx_bytes_buffered") > 0);

            let mut received = Vec::new();
            host.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), total);
            host.shutdown().await.unwrap();
            let mut client = sent.await.unwrap();
            assert_eq!(read_to_end(&mut client).await.1, "EOF");
            assert_eq!(served.end().await, "ok");
            assert_eq!(paused(), resumed());
            assert_eq!(proxy.cluster_stat("up", "upstream_cx_tx_bytes_buffered"), 0);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_stream_info_knows_the_upstream_connection() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            proxy.cluster_at("up", echo_host().await);
            let (mut client, served) =
                proxy.connect_inside_with(|info| leave(info, "shared", "envoy.string", "value"));
            ask(&mut client, "hello").await;
            let (info, upstream) = (&served.info, &served.info.upstream);
            assert_eq!(upstream.host.borrow().as_ref().unwrap().address.to_string(), "envoy://host/");
            assert_eq!(&*upstream.cluster.borrow().as_ref().unwrap().name, "up");
            assert_eq!(upstream.local_address.get(), Some(Address::internal_client()));
            assert_eq!(upstream.remote_address.get().unwrap().to_string(), "envoy://host/");
            assert_eq!((upstream.connection_id.get(), upstream.attempts.get()), (NonZeroU64::new(7), 1));
            assert_eq!((upstream.wire_bytes_sent.get(), upstream.wire_bytes_received.get()), (5, 5));
            assert!(upstream.filter_state.borrow().get("shared").is_some());
            assert!(upstream.connection_pool_ready.get().is_some());
            assert!(info.has_id());
            let id = info.stream_id();
            assert_eq!((id.len(), &id[14..15], id.matches('-').count()), (36, "4", 4), "{id}");
        })
        .await;
}

#[test]
fn a_connection_needs_little_memory() {
    // What it takes while it is relayed, and what a hop takes; the beginning is in a box of its own, and goes.
    let size = size_of::<Session<'_>>();
    assert!(size <= 256, "the future of a connection takes {size} bytes");
}
