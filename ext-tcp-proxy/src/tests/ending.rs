//! How connections end, and what each side sees of it.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::LocalSet,
};
use underpass_core::{cluster::ClosedBy, io::Io, stream_info::DetectedClose};

use super::toys::*;

#[tokio::test(flavor = "current_thread")]
async fn the_answer_arrives_after_the_client_has_finished_sending() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let host = host(|mut socket| async move {
                let mut request = String::new();
                socket.read_to_string(&mut request).await.unwrap();
                socket.write_all(format!("got {}", request.len()).as_bytes()).await.unwrap();
            })
            .await;
            let cluster = proxy.cluster_at("up", host);
            let (mut client, served) = proxy.connect().await;
            client.write_all(&[b'x'; 1000]).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, ("got 1000".to_owned(), "EOF".to_owned()));
            assert_eq!(served.end().await, "ok");
            assert_eq!(*cluster.closed.borrow(), [ClosedBy::Remote]);
        })
        .await;
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=1000 tx=8"]);
}

#[tokio::test(flavor = "current_thread")]
async fn the_client_may_go_on_sending_after_the_host_has_finished() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (received, arrived) = tokio::sync::oneshot::channel();
            let host = host(|mut socket| async move {
                socket.write_all(b"bye").await.unwrap();
                socket.shutdown().await.unwrap();
                let mut rest = Vec::new();
                socket.read_to_end(&mut rest).await.unwrap();
                received.send(rest.len()).unwrap();
            })
            .await;
            let cluster = proxy.cluster_at("up", host);
            let (mut client, served) = proxy.connect().await;
            assert_eq!(read_to_end(&mut client).await, ("bye".to_owned(), "EOF".to_owned()));
            client.write_all(&[b'y'; 5000]).await.unwrap();
            drop(client);
            assert_eq!(arrived.await.unwrap(), 5000);
            assert_eq!(served.end().await, "ok");
            assert_eq!(*cluster.closed.borrow(), [ClosedBy::Local]);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_reset_by_the_client_reaches_the_host_and_is_no_flag() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (seen, how) = tokio::sync::oneshot::channel();
            let host = host(|mut socket| async move {
                let mut request = [0; 2];
                socket.read_exact(&mut request).await.unwrap();
                socket.write_all(&request).await.unwrap();
                seen.send(read_to_end(&mut socket).await.1).unwrap();
            })
            .await;
            let cluster = proxy.cluster_at("up", host);
            let (mut client, served) = proxy.connect().await;
            ask(&mut client, "hi").await;
            client.set_zero_linger().unwrap();
            drop(client);
            assert_eq!(how.await.unwrap(), "connection reset");
            let info = std::rc::Rc::clone(&served.info);
            assert_eq!(served.end().await, "downstream: Connection reset by peer (os error 104)");
            assert_eq!(info.flags.get().to_string(), "-");
            assert_eq!(info.downstream_detected_close.get(), DetectedClose::RemoteReset);
            assert_eq!(*cluster.closed.borrow(), [ClosedBy::Local]);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_reset_by_the_host_reaches_the_client_and_is_flagged() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let host = host(|mut socket| async move {
                socket.read_exact(&mut [0; 2]).await.unwrap();
                socket.set_zero_linger().unwrap();
            })
            .await;
            let cluster = proxy.cluster_at("up", host);
            let (mut client, served) = proxy.connect().await;
            client.write_all(b"hi").await.unwrap();
            assert_eq!(read_to_end(&mut client).await.1, "connection reset");
            let info = std::rc::Rc::clone(&served.info);
            assert!(served.end().await.starts_with("upstream: "));
            assert_eq!(info.downstream_detected_close.get(), DetectedClose::LocalReset);
            assert_eq!(info.upstream.detected_close.get(), DetectedClose::RemoteReset);
            assert_eq!(*cluster.closed.borrow(), [ClosedBy::Remote]);
        })
        .await;
    assert_eq!(proxy.log(), ["TcpConnectionEnd UR attempts=1 rx=2 tx=0"]);
}

#[tokio::test(flavor = "current_thread")]
async fn resets_cross_an_internal_hop_in_both_directions() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            // The host's half of an internal connection is dropped: the client gets a reset.
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hi").await.unwrap();
            host.read_exact(&mut [0; 2]).await.unwrap();
            drop(host);
            assert_eq!(read_to_end(&mut client).await.1, "connection reset");
            assert_eq!(served.end().await, "upstream: connection reset");

            // The client resets: the host gets a reset.
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hi").await.unwrap();
            host.read_exact(&mut [0; 2]).await.unwrap();
            client.reset();
            assert_eq!(read_to_end(&mut host).await.1, "connection reset");
            assert_eq!(served.end().await, "downstream: connection reset");
        })
        .await;
    let ends = ["TcpConnectionEnd UR attempts=1 rx=2 tx=0", "TcpConnectionEnd - attempts=1 rx=2 tx=0"];
    assert_eq!(proxy.log(), ends);
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_is_gone_leaves_its_bytes_to_be_flushed() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (_, mut host) = proxy.cluster_that_buffers("up", 512);
            let (mut client, served) = proxy.connect().await;
            host.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.1, "EOF");
            client.write_all(&[b'x'; 1000]).await.unwrap();
            drop(client);
            until("the flush", || proxy.stat("upstream_flush_active") == 1).await;
            let mut received = Vec::new();
            host.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), 1000);
            assert_eq!(served.end().await, "ok");
        })
        .await;
    assert_eq!((proxy.stat("upstream_flush_total"), proxy.stat("upstream_flush_active")), (1, 0));
}
