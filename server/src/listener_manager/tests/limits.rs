//! Limits on connections, and what happens when the process runs out of descriptors.

use std::{fs::File, process::Command, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions};

use super::harness::{Proxy, expect, ping, read_to_end, saying};
use crate::test_server::TestOptions;

fn limited(key: &'static str, limit: f64) -> TestOptions {
    TestOptions { runtime: vec![(key, limit)], ..TestOptions::default() }
}

#[tokio::test(flavor = "local")]
async fn the_limit_of_the_process_turns_clients_away_until_others_leave() {
    let listeners = [
        saying("a", "x", "stat_prefix: a"),
        saying("b", "x", "stat_prefix: b, ignore_global_conn_limit: true"),
    ];
    let proxy = Proxy::start(
        limited("overload.global_downstream_max_connections", 1.0),
        &[&listeners[0], &listeners[1]],
    );
    let mut first = proxy.connect("a").await;
    expect(&mut first, "x").await;
    assert_eq!(read_to_end(&mut proxy.connect("a").await).await, "");
    assert_eq!(proxy.server.stat("listener.a.downstream_global_cx_overflow"), 1);
    expect(&mut proxy.connect("b").await, "x").await;
    drop(first);
    proxy.server.wait_for("listener.a.downstream_cx_active", 0).await;
    expect(&mut proxy.connect("a").await, "x").await;
}

#[tokio::test(flavor = "local")]
async fn a_listener_has_a_limit_of_its_own() {
    let options = limited("envoy.resource_limits.listener.a.connection_limit", 1.0);
    let proxy = Proxy::start(options, &[&saying("a", "x", "stat_prefix: a"), &saying("b", "x", "")]);
    let mut first = proxy.connect("a").await;
    expect(&mut first, "x").await;
    assert_eq!(read_to_end(&mut proxy.connect("a").await).await, "");
    assert_eq!(proxy.server.stat("listener.a.downstream_cx_overflow"), 1);
    expect(&mut proxy.connect("b").await, "x").await;
    ping(&mut first).await;
}

/// Set in the process that may run out of descriptors: the limit is that of a whole process, so the test has one of its own.
const OWN_PROCESS: &str = "UNDERPASS_TEST_WITHOUT_DESCRIPTORS";

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    if std::env::var_os(OWN_PROCESS).is_some() {
        let mut runtime = Builder::new_current_thread();
        return runtime
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap()
            .block_on(run_out_of_descriptors());
    }
    let name = "listener_manager::tests::limits::without_descriptors_accepting_pauses_and_goes_on";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name]).env(OWN_PROCESS, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

async fn run_out_of_descriptors() {
    const FAILURES: &str = "listener.a.underpass_accept_failure";
    let proxy = Proxy::serving(&[&saying("a", "x", "stat_prefix: a")]);
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // The client takes the last one, so none is left for the other end.
    hoard.pop();
    let mut client = proxy.connect("a").await;
    crate::test_server::eventually(|| proxy.server.stat(FAILURES) > 0, || "nothing failed".to_owned()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let failures = proxy.server.stat(FAILURES);
    assert!(failures < 10, "{failures} attempts in 200 ms");
    drop(hoard);
    expect(&mut client, "x").await;
}
