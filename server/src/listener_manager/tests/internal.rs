//! Internal listeners: reached by name, on the worker of their client.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use underpass_core::{
    config::{Struct, Value},
    stream_info::Passthrough,
};

use super::harness::{LOG, Proxy, expect, filter, internal, ping, read_to_end, saying};
use crate::test_server::TestOptions;

fn passed(value: &str) -> Passthrough {
    let mut passthrough = Passthrough { internal_hops: 2, ..Passthrough::default() };
    let values = Struct::from_iter([("passed".to_owned(), Value::String(value.to_owned()))]);
    passthrough.metadata.set(Arc::<str>::from("test"), values);
    passthrough
}

#[tokio::test(flavor = "local")]
async fn an_internal_connection_is_served_and_counted_under_its_name() {
    let proxy = Proxy::serving(&[&internal("inner_l", "{remote_ip} to {local} after {hops} with {passed} ")]);
    let mut client = proxy.connect_internal("inner_l", Some(passed("this"))).unwrap();
    expect(&mut client, "envoy://internal_client_address/ to envoy://inner_l/ep after 2 with this ").await;
    ping(&mut client).await;
    insta::assert_snapshot!(proxy.server.used("listener.").join("\n"), @"
    listener.envoy_internal_inner_l.downstream_cx_active: 1
    listener.envoy_internal_inner_l.downstream_cx_total: 1
    listener.envoy_internal_inner_l.worker_0.downstream_cx_active: 1
    listener.envoy_internal_inner_l.worker_0.downstream_cx_total: 1
    ");
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
    proxy.server.wait_for("listener.envoy_internal_inner_l.downstream_cx_active", 0).await;
    assert_eq!(proxy.server.logs.all().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn what_was_passed_on_is_there_when_listener_filters_run() {
    let more = format!("listener_filters: [{}], {LOG}", filter("Inspect", "wait_for_byte: true"));
    let listener = saying("inner", "{passed}", &more)
        .replace("address: {socket_address: {address: 127.0.0.1, port_value: 0}}", "internal_listener: {}");
    let proxy = Proxy::serving(&[&listener]);
    let mut client = proxy.connect_internal("inner", Some(passed("early"))).unwrap();
    client.write_all(b"x").await.unwrap();
    expect(&mut client, "early").await;
}

#[tokio::test(flavor = "local")]
async fn the_listener_does_not_serve_before_accept_returns() {
    let proxy = Proxy::serving(&[&internal("inner", "at once")]);
    let mut client = proxy.connect_internal("inner", None).unwrap();
    assert_eq!(client.unread(), 0);
    expect(&mut client, "at once").await;
}

#[tokio::test(flavor = "local")]
async fn every_worker_has_the_listener() {
    let options = TestOptions { concurrency: 2, ..TestOptions::default() };
    let proxy = Proxy::start(options, &[&internal("inner", "x")]);
    assert_eq!(proxy.server.stat("listener_manager.listener_create_success"), 2);
    for worker in &proxy.workers {
        let registry =
            worker.slots().get::<underpass_core::internal_listener::InternalListenerRegistry>().unwrap();
        assert!(registry.get("inner").is_some());
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_left_of_a_worker_does_not_keep_it_alive() {
    let proxy = Proxy::serving(&[&internal("inner", "x")]);
    let worker = std::rc::Rc::downgrade(&proxy.workers[0]);
    let Proxy { manager, workers, server, .. } = proxy;
    drop((manager, workers));
    // Without a manager the task that follows it ends, and takes the listeners with it.
    crate::test_server::eventually(|| worker.upgrade().is_none(), || "the worker is still there".to_owned())
        .await;
    drop(server);
}
