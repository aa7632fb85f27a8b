//! The idle timeout and the maximum duration, on a clock that jumps.

use std::{rc::Rc, time::Duration};

use tokio::{io::AsyncReadExt, io::AsyncWriteExt, task::LocalSet, time::Instant};

use super::toys::*;

/// How long a silent connection lasts after an exchange, and how it ends.
async fn silent_connection(fields: &str) -> (Proxy, Duration, String) {
    let proxy = Proxy::new(fields);
    let (lasted, end) = LocalSet::new()
        .run_until(async {
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            client.write_all(b"hi").await.unwrap();
            host.read_exact(&mut [0; 2]).await.unwrap();
            let started = Instant::now();
            let end = served.end().await;
            (started.elapsed(), end)
        })
        .await;
    (proxy, lasted, end)
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_silent_connection_ends_after_the_idle_timeout() {
    let (proxy, lasted, end) = silent_connection("idle_timeout: 0.5s").await;
    assert_eq!((lasted.as_millis(), end.as_str()), (500, "tcp_session_idle_timeout"));
    assert_eq!(proxy.stat("idle_timeout"), 1);
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=2 tx=0"]);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn that_is_one_hour_unless_something_else_is_said() {
    let (_, lasted, _) = silent_connection("").await;
    assert_eq!(lasted.as_secs(), 3600);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_zero_switches_it_off() {
    let (proxy, lasted, _) =
        silent_connection("idle_timeout: 0s\nmax_downstream_connection_duration: 100000s").await;
    assert_eq!((lasted.as_secs(), proxy.stat("idle_timeout")), (100_000, 0));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn traffic_in_either_direction_starts_it_anew() {
    let proxy = Proxy::new("idle_timeout: 1s");
    LocalSet::new()
        .run_until(async {
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            let started = Instant::now();
            for round in 0..6 {
                let (from, to) =
                    if round % 2 == 0 { (&mut client, &mut host) } else { (&mut host, &mut client) };
                from.write_all(b"x").await.unwrap();
                to.read_exact(&mut [0; 1]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(800)).await;
            }
            served.end().await;
            assert_eq!(started.elapsed().as_millis(), 5 * 800 + 1000);
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn it_runs_while_connecting() {
    let proxy = Proxy::new("idle_timeout: 0.4s");
    LocalSet::new()
        .run_until(async {
            let cluster = proxy.silent_cluster("up");
            let (_client, served) = proxy.connect_inside();
            assert_eq!(served.end().await, "tcp_session_idle_timeout");
            assert_eq!(cluster.opening.get(), 0);
        })
        .await;
    assert_eq!(proxy.stat("idle_timeout"), 1);
    assert_eq!(proxy.log(), ["TcpConnectionEnd - attempts=1 rx=0 tx=0"]);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn another_filter_may_set_it_for_one_connection() {
    let proxy = Proxy::new("idle_timeout: 0s");
    LocalSet::new()
        .run_until(async {
            let (_cluster, _host) = proxy.cluster_in_hand("up");
            let name = "envoy.tcp_proxy.per_connection_idle_timeout_ms";
            let (_client, served) = proxy.connect_inside_with(|info| leave(info, name, name, "250"));
            let started = Instant::now();
            assert_eq!(served.end().await, "tcp_session_idle_timeout");
            assert_eq!(started.elapsed().as_millis(), 250);
        })
        .await;
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_busy_connection_ends_after_the_maximum_duration() {
    let proxy = Proxy::new("max_downstream_connection_duration: 0.7s");
    LocalSet::new()
        .run_until(async {
            let (_, mut host) = proxy.cluster_in_hand("up");
            let (mut client, served) = proxy.connect_inside();
            let started = Instant::now();
            let info = Rc::clone(&served.info);
            let busy = async {
                loop {
                    client.write_all(b"x").await.unwrap();
                    host.read_exact(&mut [0; 1]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let end = tokio::select! { end = served.end() => end, () = busy => unreachable!() };
            assert_eq!(end, "max_connection_duration_reached");
            assert_eq!((started.elapsed().as_millis(), info.flags.get().to_string()), (700, "DT".to_owned()));
        })
        .await;
    assert_eq!(proxy.stat("max_downstream_connection_duration"), 1);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn jitter_only_prolongs_the_maximum_duration() {
    let fields = "max_downstream_connection_duration: 10s\n\
                  max_downstream_connection_duration_jitter_percentage: {value: 50}";
    let mut distinct = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (_, lasted, _) = silent_connection(fields).await;
        assert!((10.0..=15.1).contains(&lasted.as_secs_f64()), "{lasted:?}");
        distinct.insert(lasted.as_millis());
    }
    assert!(distinct.len() > 1);
}
