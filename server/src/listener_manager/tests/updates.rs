//! Listeners that change, go and stop while connections live.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
};

use super::{
    super::{Change, Which},
    harness::{LOG, Proxy, chain, expect, internal, ping, read_to_end, saying, with_chains},
};
use crate::test_server::{TestOptions, eventually};

const SOON: Duration = Duration::from_millis(400);

fn draining_soon() -> TestOptions {
    TestOptions { drain_time: SOON, ..TestOptions::default() }
}

/// A process that serves nothing yet.
fn empty(options: TestOptions) -> Proxy {
    Proxy::start(options, &[])
}

fn manager_stats(proxy: &Proxy) -> String {
    proxy.server.used("listener_manager.").join("\n").replace("listener_manager.", "")
}

#[tokio::test(flavor = "local")]
async fn a_listener_is_added_while_others_serve() {
    let proxy = Proxy::serving(&[&saying("old", "x", "")]);
    let mut client = proxy.connect("old").await;
    expect(&mut client, "x").await;
    assert_eq!(proxy.update(&saying("new", "hello", "")).unwrap(), Change::Added);
    expect(&mut proxy.connect("new").await, "hello").await;
    ping(&mut client).await;
    assert_eq!(proxy.update(&saying("new", "hello", "")).unwrap(), Change::Ignored, "it says the same");
    insta::assert_snapshot!(manager_stats(&proxy), @"
    listener_added: 2
    listener_create_success: 2
    total_listeners_active: 2
    workers_started: 1
    ");
}

#[tokio::test(flavor = "local")]
async fn changed_filter_chains_serve_new_connections_while_old_ones_drain() {
    let proxy = empty(draining_soon());
    let kept = chain("kept", "filter_chain_match: {destination_port: 1}");
    let with = |text: &str| with_chains("l", &[chain(text, ""), kept.clone()], LOG);
    proxy.update(&with("old")).unwrap();
    let port = proxy.port("l");
    let mut old = proxy.connect("l").await;
    expect(&mut old, "old").await;
    assert_eq!(proxy.update(&with("new")).unwrap(), Change::UpdatedInPlace);
    assert_eq!(proxy.port("l"), port);
    let mut new = proxy.connect("l").await;
    expect(&mut new, "new").await;
    ping(&mut old).await;
    insta::assert_snapshot!(manager_stats(&proxy), @"
    listener_added: 1
    listener_create_success: 2
    listener_in_place_updated: 1
    listener_modified: 1
    total_filter_chains_draining: 1
    total_listeners_active: 1
    workers_started: 1
    ");
    assert_eq!(read_to_end(&mut old).await, "", "time is up");
    proxy.server.wait_for("listener_manager.total_filter_chains_draining", 0).await;
    ping(&mut new).await;
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_active"), 1);
    assert_eq!(proxy.server.logs.all().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_chain_that_stays_keeps_its_connections() {
    let proxy = empty(draining_soon());
    let with = |text: &str| {
        let other = chain(text, "filter_chain_match: {destination_port: 1}");
        with_chains("l", &[chain("same", ""), other], "")
    };
    proxy.update(&with("a")).unwrap();
    let mut client = proxy.connect("l").await;
    expect(&mut client, "same").await;
    assert_eq!(proxy.update(&with("b")).unwrap(), Change::UpdatedInPlace);
    proxy.server.wait_for("listener_manager.total_filter_chains_draining", 0).await;
    ping(&mut client).await;
}

#[tokio::test(flavor = "local")]
async fn any_other_change_makes_a_new_listener_that_takes_the_sockets_over() {
    let proxy = empty(draining_soon());
    let with =
        |text: &str, limit: u32| saying("l", text, &format!("per_connection_buffer_limit_bytes: {limit}"));
    proxy.update(&with("{limit} ", 1)).unwrap();
    let port = proxy.port("l");
    let mut old = proxy.connect("l").await;
    expect(&mut old, "1 ").await;
    // Connected, but not accepted before the update: it must not be lost.
    let waiting = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(proxy.update(&with("{limit} ", 22)).unwrap(), Change::Updated);
    assert_eq!(proxy.port("l"), port);
    waiting.set_nonblocking(true).unwrap();
    expect(&mut TcpStream::from_std(waiting).unwrap(), "22 ").await;
    ping(&mut old).await;
    insta::assert_snapshot!(manager_stats(&proxy), @"
    listener_added: 1
    listener_create_success: 2
    listener_modified: 1
    total_listeners_active: 1
    total_listeners_draining: 1
    workers_started: 1
    ");
    assert_eq!(read_to_end(&mut old).await, "");
    proxy.server.wait_for("listener_manager.total_listeners_draining", 0).await;
    expect(&mut proxy.connect("l").await, "22 ").await;
}

#[tokio::test(flavor = "local")]
async fn a_listener_may_move_to_another_address() {
    let proxy = empty(draining_soon());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sock");
    let pipe = format!("pipe: {{path: '{}'}}", path.display());
    let tcp = saying("l", "moved ", "");
    proxy.update(&tcp).unwrap();
    let port = proxy.port("l");
    proxy.update(&tcp.replace("socket_address: {address: 127.0.0.1, port_value: 0}", &pipe)).unwrap();
    expect(&mut UnixStream::connect(&path).await.unwrap(), "moved ").await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "closed at once");
}

#[tokio::test(flavor = "local")]
async fn a_removed_listener_closes_its_port_and_drains_its_connections() {
    let proxy = empty(draining_soon());
    proxy.update(&saying("l", "x", LOG)).unwrap();
    let port = proxy.port("l");
    let mut client = proxy.connect("l").await;
    expect(&mut client, "x").await;
    assert!(proxy.manager.remove("l"));
    assert!(!proxy.manager.remove("l"));
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    ping(&mut client).await;
    insta::assert_snapshot!(manager_stats(&proxy), @"
    listener_added: 1
    listener_create_success: 1
    listener_removed: 1
    total_listeners_draining: 1
    workers_started: 1
    ");
    assert_eq!(read_to_end(&mut client).await, "");
    proxy.server.wait_for("listener_manager.total_listeners_draining", 0).await;
    eventually(|| proxy.manager.connections() == 0, || "a connection is left".to_owned()).await;
    assert_eq!(proxy.server.logs.all().len(), 1);
    assert!(proxy.manager.statuses().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_listener_can_be_added_again_at_once() {
    let proxy = empty(TestOptions::default());
    let unbound = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for more in ["", "enable_reuse_port: false"] {
        let text = saying("l", "x", more).replace("port_value: 0", &format!("port_value: {unbound}"));
        proxy.update(&text).unwrap();
        expect(&mut proxy.connect("l").await, "x").await;
        assert!(proxy.manager.remove("l"));
        proxy.update(&text).unwrap();
        expect(&mut proxy.connect("l").await, "x").await;
        assert!(proxy.manager.remove("l"));
    }
}

#[tokio::test(flavor = "local")]
async fn a_removed_internal_listener_accepts_until_its_drain_is_over() {
    let proxy = empty(draining_soon());
    proxy.update(&internal("inner", "x")).unwrap();
    proxy.settle().await;
    let mut old = proxy.connect_internal("inner", None).unwrap();
    expect(&mut old, "x").await;
    proxy.manager.remove("inner");
    proxy.settle().await;
    let mut late = proxy.connect_internal("inner", None).unwrap();
    expect(&mut late, "x").await;
    for client in [&mut old, &mut late] {
        let mut buffer = [0];
        let end = tokio::io::AsyncReadExt::read(client, &mut buffer).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "not an orderly end");
    }
    proxy.server.wait_for("listener_manager.total_listeners_draining", 0).await;
    assert!(proxy.connect_internal("inner", None).is_none());
}

#[tokio::test(flavor = "local")]
async fn a_new_internal_listener_serves_at_once_while_the_old_one_drains() {
    let proxy = empty(draining_soon());
    proxy.update(&internal("inner", "old")).unwrap();
    proxy.settle().await;
    let mut old = proxy.connect_internal("inner", None).unwrap();
    expect(&mut old, "old").await;
    proxy.manager.remove("inner");
    proxy.update(&internal("inner", "new")).unwrap();
    proxy.settle().await;
    expect(&mut proxy.connect_internal("inner", None).unwrap(), "new").await;
    ping(&mut old).await;
    proxy.server.wait_for("listener_manager.total_listeners_draining", 0).await;
    expect(&mut proxy.connect_internal("inner", None).unwrap(), "new").await;
}

#[tokio::test(flavor = "local")]
async fn a_refused_update_changes_nothing() {
    let proxy = empty(TestOptions::default());
    proxy.update(&internal("inner", "good")).unwrap();
    let wrong = internal("inner", "bad").replace("internal_listener", "freebind: true, internal_listener");
    proxy.update(&wrong).unwrap_err();
    proxy.settle().await;
    expect(&mut proxy.connect_internal("inner", None).unwrap(), "good").await;
    let dump = proxy.server.sections.all().remove(0);
    let listener = &dump["dynamic_listeners"][0];
    assert_eq!(listener["active_state"]["listener"]["name"], "inner");
    let details = listener["error_state"]["details"].as_str().unwrap();
    assert!(details.contains("has unsupported tcp listener feature"), "{details}");
    proxy.update(&internal("inner", "better")).unwrap();
    let dump = proxy.server.sections.all().remove(0);
    assert!(dump["dynamic_listeners"][0].get("error_state").is_none());
}

#[tokio::test(flavor = "local")]
async fn reuse_port_cannot_change() {
    let proxy = empty(TestOptions::default());
    proxy.update(&saying("l", "x", "")).unwrap();
    let error = proxy.update(&saying("l", "x", "enable_reuse_port: false")).unwrap_err();
    assert_eq!(error.message, "Listener l: reuse port cannot be changed during an update");
}

#[tokio::test(flavor = "local")]
async fn a_listener_may_become_an_internal_one() {
    let proxy = empty(draining_soon());
    proxy.update(&saying("l", "x", "")).unwrap();
    let port = proxy.port("l");
    assert_eq!(proxy.update(&internal("l", "inside")).unwrap(), Change::Updated);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    proxy.settle().await;
    expect(&mut proxy.connect_internal("l", None).unwrap(), "inside").await;
}

#[tokio::test(flavor = "local")]
async fn listeners_of_the_bootstrap_are_not_changed_by_others() {
    let proxy = Proxy::serving(&[&saying("l", "x", "")]);
    assert_eq!(proxy.update(&saying("l", "y", "")).unwrap(), Change::Ignored);
    assert!(!proxy.manager.remove("l"));
    expect(&mut proxy.connect("l").await, "x").await;
    let dump = proxy.server.sections.all().remove(0);
    assert_eq!(dump["static_listeners"][0]["listener"]["name"], "l");
    assert_eq!(
        dump["static_listeners"][0]["listener"]["@type"],
        "type.googleapis.com/envoy.config.listener.v3.Listener"
    );
}

#[tokio::test(flavor = "local")]
async fn stopped_listeners_close_their_ports_and_keep_their_connections() {
    let proxy =
        Proxy::serving(&[&saying("outer", "x", "traffic_direction: INBOUND"), &internal("inner", "y")]);
    let port = proxy.port("outer");
    let mut client = proxy.connect("outer").await;
    expect(&mut client, "x").await;
    let before = proxy.manager.statuses();
    proxy.manager.stop_listeners(Which::Inbound);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert_eq!(proxy.server.stat("listener_manager.listener_stopped"), 1);
    proxy.manager.stop_listeners(Which::All);
    assert_eq!(proxy.server.stat("listener_manager.listener_stopped"), 2, "each counts once");
    ping(&mut client).await;
    assert_eq!(proxy.manager.statuses(), before);
    expect(&mut proxy.connect_internal("inner", None).unwrap(), "y").await;
    assert_eq!(proxy.update(&saying("late", "x", "")).unwrap(), Change::Ignored);
}

#[tokio::test(flavor = "local")]
async fn a_graceful_drain_tells_connections_and_stops_listeners_later() {
    let proxy = Proxy::start(draining_soon(), &[&saying("l", "x", "")]);
    let port = proxy.port("l");
    proxy.manager.drain_gracefully(Which::All, true);
    expect(&mut proxy.connect("l").await, "x").await;
    proxy.server.wait_for("listener_manager.listener_stopped", 1).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test(flavor = "local")]
async fn a_process_is_drained_when_its_last_connection_has_ended() {
    let proxy = Proxy::serving(&[&saying("l", "x", "")]);
    let mut client = proxy.connect("l").await;
    expect(&mut client, "x").await;
    let leave = async {
        tokio::task::yield_now().await;
        client.shutdown().await.unwrap();
        read_to_end(&mut client).await;
    };
    tokio::join!(proxy.manager.drain(), leave);
    assert_eq!(proxy.manager.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_process_does_not_wait_for_ever_to_be_drained() {
    let proxy = Proxy::start(draining_soon(), &[&saying("l", "x", "")]);
    let mut client = proxy.connect("l").await;
    expect(&mut client, "x").await;
    proxy.manager.drain().await;
    assert_eq!(proxy.manager.connections(), 1);
}
