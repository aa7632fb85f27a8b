//! Attempts to connect: how they fail, how often they are made, and what a client's disappearance does to them.

use std::rc::Rc;

use tokio::{io::AsyncWriteExt, task::LocalSet};
use underpass_core::{
    address::Address,
    cluster::PoolFailureReason::{
        self, ConnectionOverflow, LocalConnectionFailure, NoHealthyHost, PendingOverflow,
        RemoteConnectionFailure, Timeout,
    },
    config::{Struct, Value},
    io::{BoxIo, Io},
    user_space_socket::{PairOptions, pair},
};

use super::toys::*;

/// What a client sees and what is known in the end when each attempt fails like this.
async fn failed(proxy: &Proxy, reason: PoolFailureReason) -> (String, String, u32, String) {
    proxy.failing_cluster("up", reason);
    let (mut client, served) = proxy.connect().await;
    let (_, seen) = read_to_end(&mut client).await;
    let info = Rc::clone(&served.info);
    served.end().await;
    let reason = info.details.downstream_local_close_reason.borrow().as_deref().unwrap_or("-").to_owned();
    (seen, info.flags.get().to_string(), info.upstream.attempts.get(), reason)
}

#[tokio::test(flavor = "current_thread")]
async fn each_failure_has_its_flags() {
    LocalSet::new()
        .run_until(async {
            let connect_failed = "tcp_initializion_failure:0";
            for (reason, flags, attempts, close_reason) in [
                (RemoteConnectionFailure, "UF,URX", 1, connect_failed),
                (Timeout, "UF,URX", 1, connect_failed),
                (LocalConnectionFailure, "URX", 1, connect_failed),
                (PendingOverflow, "URX", 1, connect_failed),
                (NoHealthyHost, "UH", 0, "tcp_initializion_failure:1"),
                (ConnectionOverflow, "UO", 0, "tcp_initializion_failure:2"),
            ] {
                let proxy = Proxy::new("");
                let expected = ("EOF".to_owned(), flags.to_owned(), attempts, close_reason.to_owned());
                assert_eq!(failed(&proxy, reason).await, expected, "{reason:?}");
                let exceeded = proxy.cluster_stat("up", "upstream_cx_connect_attempts_exceeded");
                assert_eq!(exceeded, u64::from(attempts == 1), "{reason:?}");
            }
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_host_and_the_reason_of_a_failure_are_known() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            proxy.failing_cluster("up", RemoteConnectionFailure);
            let (_client, served) = proxy.connect_inside();
            let info = Rc::clone(&served.info);
            assert_eq!(served.end().await, "connecting upstream failed");
            let why = info.upstream.details.transport_failure_reason.borrow().clone();
            assert_eq!(why.as_deref(), Some("delayed_connect_error:_Connection_refused"));
            assert_eq!(info.upstream.host.borrow().as_ref().unwrap().address.to_string(), "envoy://host/");
            assert_eq!(info.upstream.remote_address.get(), None);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_unknown_cluster_is_no_route() {
    let proxy = Proxy::new("max_connect_attempts: 3");
    LocalSet::new()
        .run_until(async {
            let (mut client, served) = proxy.connect().await;
            assert_eq!(read_to_end(&mut client).await.1, "EOF");
            assert_eq!(served.end().await, "the cluster does not exist");
        })
        .await;
    assert_eq!(proxy.stat("downstream_cx_no_route"), 1);
    assert_eq!(proxy.log(), ["TcpConnectionEnd NC attempts=0 rx=0 tx=0"]);
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_that_nobody_took_make_the_close_a_reset() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let (let_it_fail, may_fail) = tokio::sync::watch::channel(false);
            proxy.cluster("up", move |_| {
                let mut may_fail = may_fail.clone();
                Box::pin(async move {
                    may_fail.wait_for(|fail| *fail).await.unwrap();
                    Err(RemoteConnectionFailure)
                })
            });
            let (mut client, served) = proxy.connect().await;
            client.write_all(b"hello").await.unwrap();
            let_it_fail.send_replace(true);
            assert_eq!(read_to_end(&mut client).await.1, "connection reset");
            served.end().await;
        })
        .await;
    assert_eq!(proxy.stat("downstream_cx_rx_bytes_total"), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn so_do_bytes_that_only_a_listener_filter_has_read() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            proxy.failing_cluster("up", RemoteConnectionFailure);
            let (mut client, served) = proxy.connect_after_reading_ahead("hello").await;
            assert_eq!(read_to_end(&mut client).await.1, "connection reset");
            served.end().await;
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn connecting_is_tried_as_often_as_the_configuration_says() {
    let proxy = Proxy::new("max_connect_attempts: 3");
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.failing_cluster("up", RemoteConnectionFailure);
            let (_client, served) = proxy.connect_inside();
            served.end().await;
            assert_eq!(cluster.asked.borrow().len(), 3);
        })
        .await;
    assert_eq!(proxy.cluster_stat("up", "upstream_cx_connect_attempts_exceeded"), 1);
    assert_eq!(proxy.log(), ["TcpConnectionEnd UF,URX attempts=3 rx=0 tx=0"]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_failed_before_stays_in_the_log_when_a_later_attempt_succeeds() {
    let proxy = Proxy::new("max_connect_attempts: 3");
    LocalSet::new()
        .run_until(async {
            let address = echo_host().await;
            proxy.cluster("up", move |before| match before {
                0 => Box::pin(async { Err(RemoteConnectionFailure) }),
                _ => connect(address),
            });
            let (mut client, served) = proxy.connect().await;
            ask(&mut client, "hello").await;
            drop(client);
            let info = Rc::clone(&served.info);
            assert_eq!(served.end().await, "ok");
            assert_eq!(info.upstream.with_hosts_attempted(<[_]>::len), 2);
            info.upstream.with_connection_ids_attempted(|ids| assert_eq!(ids, [7]));
        })
        .await;
    assert_eq!(proxy.log(), ["TcpConnectionEnd UF attempts=2 rx=5 tx=5"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_weighted_cluster_is_picked_anew_for_each_attempt() {
    let routes = "weighted_clusters: {clusters: [{name: good, weight: 1}, {name: bad, weight: 1}]}";
    let proxy = Proxy::with_routes(&format!("{routes}\nmax_connect_attempts: 64"));
    LocalSet::new()
        .run_until(async {
            proxy.cluster("good", |_| {
                let (io, _host) = pair(PairOptions::new(Address::internal("host", "")));
                Box::pin(async move { Ok(Box::new(io) as BoxIo) })
            });
            let bad = proxy.failing_cluster("bad", RemoteConnectionFailure);
            for _ in 0..64 {
                let (_client, served) = proxy.connect_inside();
                let info = Rc::clone(&served.info);
                served.end().await;
                assert_eq!(&*info.upstream.cluster.borrow().as_ref().unwrap().name, "good");
            }
            assert!(!bad.asked.borrow().is_empty());
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn attempts_wait_for_each_other_where_a_backoff_is_set() {
    let fields = "max_connect_attempts: 30\nbackoff_options: {base_interval: 1s, max_interval: 2s}";
    let proxy = Proxy::new(fields);
    LocalSet::new()
        .run_until(async {
            proxy.failing_cluster("up", RemoteConnectionFailure);
            let (_client, served) = proxy.connect_inside();
            let started = tokio::time::Instant::now();
            served.end().await;
            // 29 waits of up to two seconds, all of which are at least a second only with bad luck.
            let waited = started.elapsed().as_secs_f64();
            assert!(waited > 1.0 && waited < 57.0, "{waited}");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_resets_while_connecting_ends_the_attempts() {
    let proxy = Proxy::new("max_connect_attempts: 3");
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.silent_cluster("up");
            let (mut client, served) = proxy.connect().await;
            // Bytes that wait to be read must not hide the reset.
            client.write_all(b"hello").await.unwrap();
            until("an attempt", || cluster.opening.get() == 1).await;
            client.set_zero_linger().unwrap();
            drop(client);
            assert_eq!(served.end().await, "downstream: Connection reset by peer (os error 104)");
            assert_eq!((cluster.opening.get(), cluster.asked.borrow().len()), (0, 1));
        })
        .await;
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=0 tx=0"]);
}

#[tokio::test(flavor = "current_thread")]
async fn so_does_one_behind_an_internal_hop() {
    let proxy = Proxy::new("max_connect_attempts: 3");
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.silent_cluster("up");
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hello").await.unwrap();
            until("an attempt", || cluster.opening.get() == 1).await;
            client.reset();
            assert_eq!(served.end().await, "downstream: connection reset");
            assert_eq!(cluster.opening.get(), 0);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_has_only_finished_sending_is_waited_for() {
    let proxy = Proxy::new("");
    LocalSet::new()
        .run_until(async {
            let address = echo_host().await;
            let (let_it_connect, may_connect) = tokio::sync::watch::channel(false);
            let cluster = proxy.cluster("up", move |_| {
                let mut may_connect = may_connect.clone();
                Box::pin(async move {
                    may_connect.wait_for(|connect| *connect).await.unwrap();
                    connect(address).await
                })
            });
            let (mut client, served) = proxy.connect().await;
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            until("an attempt", || cluster.opening.get() == 1).await;
            let_it_connect.send_replace(true);
            assert_eq!(read_to_end(&mut client).await, ("hello".to_owned(), "EOF".to_owned()));
            assert_eq!(served.end().await, "ok");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn another_filter_may_choose_the_cluster() {
    let proxy = Proxy::with_routes("cluster: nowhere");
    LocalSet::new()
        .run_until(async {
            proxy.cluster_at("up", echo_host().await);
            let (mut client, _served) = proxy.connect_inside_with(|info| {
                leave(info, "envoy.tcp_proxy.cluster", "envoy.tcp_proxy.cluster", "up");
            });
            assert_eq!(ask(&mut client, "hello").await, "hello");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn but_not_where_clusters_have_weights() {
    let proxy = Proxy::with_routes("weighted_clusters: {clusters: [{name: nowhere, weight: 1}]}");
    LocalSet::new()
        .run_until(async {
            proxy.cluster_at("up", echo_host().await);
            let (_client, served) = proxy.connect_inside_with(|info| {
                leave(info, "envoy.tcp_proxy.cluster", "envoy.tcp_proxy.cluster", "up");
            });
            assert_eq!(served.end().await, "the cluster does not exist");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_balancer_is_told_the_hash_and_the_metadata_to_match() {
    let fields = "hash_policy: [{filter_state: {key: k}}]\n\
                  metadata_match: {filter_metadata: {envoy.lb: {stage: prod, zone: a}, other: {x: y}}}";
    let proxy = Proxy::new(fields);
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.failing_cluster("up", RemoteConnectionFailure);
            let (_client, served) = proxy.connect_inside_with(|info| {
                leave(info, "k", "envoy.hashable_string", "v");
                let values = [("zone".to_owned(), Value::String("b".into()))].into();
                info.dynamic_metadata.borrow_mut().set("envoy.lb", Struct(values));
            });
            served.end().await;
            let asked = cluster.asked.borrow()[0].clone();
            assert!(asked.hash.is_some());
            let text = |text: &str| Value::String(text.to_owned());
            let expected = [("stage".to_owned(), text("prod")), ("zone".to_owned(), text("b"))].into();
            assert_eq!(asked.metadata_match, Some(expected));
        })
        .await;
}
