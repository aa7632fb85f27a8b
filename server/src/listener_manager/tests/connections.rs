//! What one connection goes through.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{
    harness::{LOG, Proxy, chain, expect, filter, ping, read_to_end, saying, with_chains},
    toys::RESTORED,
};
use crate::test_server::TestOptions;

#[tokio::test(flavor = "local")]
async fn a_connection_is_served_and_counted_under_envoys_names() {
    let proxy = Proxy::serving(&[&saying("l", "{remote_ip} {limit} ", "stat_prefix: here")]);
    let mut client = proxy.connect("l").await;
    expect(&mut client, "127.0.0.1 1048576 ").await;
    insta::assert_snapshot!(proxy.server.used("listener.").join("\n"), @"
    listener.here.downstream_cx_active: 1
    listener.here.downstream_cx_total: 1
    listener.here.worker_0.downstream_cx_active: 1
    listener.here.worker_0.downstream_cx_total: 1
    ");
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
    proxy.server.wait_for("listener.here.downstream_cx_destroy", 1).await;
    insta::assert_snapshot!(proxy.server.used("listener").join("\n"), @"
    listener.here.downstream_cx_destroy: 1
    listener.here.downstream_cx_total: 1
    listener.here.worker_0.downstream_cx_total: 1
    listener_manager.listener_added: 1
    listener_manager.listener_create_success: 1
    listener_manager.total_listeners_active: 1
    listener_manager.workers_started: 1
    ");
}

/// What Envoy 1.40 lists for a listener, and what is added here.
#[tokio::test(flavor = "local")]
async fn a_listener_has_the_stats_that_it_has_in_envoy() {
    let proxy = Proxy::serving(&[&saying("l", "x", "stat_prefix: l")]);
    let snapshot = proxy.server.store.snapshot();
    let counters = snapshot.counters.iter().map(|stat| stat.name.as_str());
    let gauges = snapshot.gauges.iter().map(|stat| stat.name.as_str());
    let histograms = snapshot.histograms.iter().map(|stat| stat.name.as_str());
    let mut names: Vec<_> = counters.chain(gauges).chain(histograms).collect();
    names.retain(|name| name.starts_with("listener"));
    names.sort_unstable();
    insta::assert_snapshot!(names.join("\n"), @"
    listener.l.connections_accepted_per_socket_event
    listener.l.downstream_cx_active
    listener.l.downstream_cx_destroy
    listener.l.downstream_cx_length_ms
    listener.l.downstream_cx_overflow
    listener.l.downstream_cx_overload_reject
    listener.l.downstream_cx_total
    listener.l.downstream_cx_transport_socket_connect_timeout
    listener.l.downstream_global_cx_overflow
    listener.l.downstream_listener_filter_error
    listener.l.downstream_listener_filter_remote_close
    listener.l.downstream_pre_cx_active
    listener.l.downstream_pre_cx_timeout
    listener.l.extension_config_missing
    listener.l.network_extension_config_missing
    listener.l.no_filter_chain_match
    listener.l.underpass_accept_failure
    listener.l.underpass_filter_panic
    listener.l.worker_0.downstream_cx_active
    listener.l.worker_0.downstream_cx_total
    listener_manager.listener_added
    listener_manager.listener_create_failure
    listener_manager.listener_create_success
    listener_manager.listener_in_place_updated
    listener_manager.listener_modified
    listener_manager.listener_removed
    listener_manager.listener_stopped
    listener_manager.total_filter_chains_draining
    listener_manager.total_listeners_active
    listener_manager.total_listeners_draining
    listener_manager.total_listeners_warming
    listener_manager.workers_pinned
    listener_manager.workers_started
    ");
}

#[tokio::test(flavor = "local")]
async fn filters_run_in_order_and_the_last_one_serves() {
    let filters = [filter("Pass", ""), filter("Pass", ""), filter("Say", "text: hello")].join(", ");
    let proxy = Proxy::serving(&[&with_chains("l", &[format!("{{filters: [{filters}]}}")], "")]);
    expect(&mut proxy.connect("l").await, "hello").await;
}

#[tokio::test(flavor = "local")]
async fn every_address_of_a_listener_leads_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("l.sock");
    let more = format!(
        "additional_addresses: [{{address: {{socket_address: {{address: '::1', port_value: 0}}}}}}, \
         {{address: {{pipe: {{path: '{}', mode: 384}}}}}}]",
        pipe.display()
    );
    let proxy = Proxy::serving(&[&saying("l", "{local} ", &more)]);
    let addresses = proxy.manager.statuses().remove(0).addresses;
    for address in &addresses[..2] {
        let mut client = TcpStream::connect(address.socket().unwrap()).await.unwrap();
        expect(&mut client, &format!("{address} ")).await;
    }
    let mut client = UnixStream::connect(&pipe).await.unwrap();
    expect(&mut client, &format!("{} ", pipe.display())).await;
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_total"), 3);
}

#[tokio::test(flavor = "local")]
async fn every_worker_accepts_on_the_same_port() {
    let options = TestOptions { concurrency: 2, ..TestOptions::default() };
    let proxy = Proxy::start(options, &[&saying("l", "{worker}", "")]);
    let mut seen = std::collections::BTreeSet::new();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = proxy.connect("l").await;
        seen.insert(client.read_u8().await.unwrap());
        clients.push(client);
    }
    assert_eq!(seen.len(), 2, "64 connections all hashed to one socket");
    let of =
        |worker| proxy.server.stat(&format!("listener.127.0.0.1_0.worker_{worker}.downstream_cx_active"));
    assert_eq!(of(0) + of(1), 64);
}

#[tokio::test(flavor = "local")]
async fn connections_are_accepted_in_batches_of_the_configured_size() {
    for (more, batches) in [("", 1), ("max_connections_to_accept_per_socket_event: 2", 3)] {
        let proxy = Proxy::serving(&[&saying("l", "x", more)]);
        let at = ("127.0.0.1", proxy.port("l"));
        // The worker shares this thread, so all of them wait until it has its turn.
        let clients: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(at).unwrap()).collect();
        proxy.server.wait_for("listener.127.0.0.1_0.downstream_cx_active", 5).await;
        proxy.server.store.merge_histograms();
        let histograms = proxy.server.store.snapshot().histograms;
        let name = "listener.127.0.0.1_0.connections_accepted_per_socket_event";
        let accepted = histograms.into_iter().find(|stat| stat.name.as_str() == name).unwrap();
        assert_eq!(accepted.value.cumulative.count(), batches, "{more}");
        drop(clients);
    }
}

#[tokio::test(flavor = "local")]
async fn exact_balance_gives_each_worker_as_many() {
    for (more, kind) in [("", "a socket each"), ("enable_reuse_port: false", "one socket")] {
        let more = format!("connection_balance_config: {{exact_balance: {{}}}}, {more}");
        let options = TestOptions { concurrency: 2, ..TestOptions::default() };
        let proxy = Proxy::start(options, &[&saying("l", "{worker}", &more)]);
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(proxy.connect("l").await);
            clients.last_mut().unwrap().read_u8().await.unwrap();
        }
        let active = |worker: usize| format!("listener.127.0.0.1_0.worker_{worker}.downstream_cx_active");
        assert_eq!((proxy.server.stat(&active(0)), proxy.server.stat(&active(1))), (5, 5), "{kind}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_without_a_chain_is_closed_counted_and_logged() {
    let chains = [chain("never", "filter_chain_match: {destination_port: 1}")];
    let proxy = Proxy::serving(&[&with_chains("l", &chains, LOG)]);
    assert_eq!(read_to_end(&mut proxy.connect("l").await).await, "");
    proxy.server.wait_for("listener.127.0.0.1_0.no_filter_chain_match", 1).await;
    assert_eq!(proxy.server.logs.all(), ["flags=NR details=filter_chain_not_found failure=-"]);
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_total"), 0, "as in Envoy");
    assert_eq!(proxy.manager.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_chain_without_filters_closes_its_connections() {
    let proxy = Proxy::serving(&[&with_chains("l", &["{name: empty}".to_owned()], "")]);
    assert_eq!(proxy.warnings.borrow().len(), 1);
    assert_eq!(read_to_end(&mut proxy.connect("l").await).await, "");
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_cx_destroy", 1).await;
}

#[tokio::test(flavor = "local")]
async fn a_panic_in_a_filter_ends_its_own_connection_only() {
    let chains = [
        format!("{{filters: [{}]}}", filter("Panic", "")),
        chain("fine", "filter_chain_match: {source_type: EXTERNAL}"),
    ];
    let proxy =
        Proxy::serving(&[&with_chains("l", &chains, LOG), &saying("other", "ok", "stat_prefix: other")]);
    let mut other = proxy.connect("other").await;
    expect(&mut other, "ok").await;
    for _ in 0..2 {
        let mut client = proxy.connect("l").await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "");
    }
    proxy.server.wait_for("listener.127.0.0.1_0.underpass_filter_panic", 2).await;
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_cx_destroy", 2).await;
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_active"), 0);
    assert_eq!(proxy.server.logs.all().len(), 2, "they are logged like others");
    ping(&mut other).await;
}

// ── listener filters ──────────────────────────────────────────────────────────────────────────

fn inspecting(fields: &str, more: &str) -> String {
    saying("l", "served", &format!("listener_filters: [{}], {LOG}, {more}", filter("Inspect", fields)))
}

#[tokio::test(flavor = "local")]
async fn a_listener_filter_that_waits_too_long_ends_the_connection() {
    let proxy = Proxy::serving(&[&inspecting("wait_for_byte: true", "listener_filters_timeout: 0.05s")]);
    let mut client = proxy.connect("l").await;
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_pre_cx_timeout"), 1);
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_pre_cx_active"), 0);
    assert_eq!(proxy.server.logs.all().len(), 1, "also a connection that came to nothing is logged");
}

#[tokio::test(flavor = "local")]
async fn a_listener_filter_that_waits_too_long_may_be_skipped() {
    let more = "listener_filters_timeout: 0.05s, continue_on_listener_filters_timeout: true";
    let proxy = Proxy::serving(&[&inspecting("wait_for_byte: true", more)]);
    expect(&mut proxy.connect("l").await, "served").await;
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_pre_cx_timeout"), 1);
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_during_listener_filters_is_counted() {
    let proxy = Proxy::serving(&[&inspecting("wait_for_byte: true", "")]);
    let client = proxy.connect("l").await;
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_pre_cx_active", 1).await;
    drop(client);
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_listener_filter_remote_close", 1).await;
    let client = proxy.connect("l").await;
    client.set_zero_linger().unwrap();
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_pre_cx_active", 1).await;
    drop(client);
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_listener_filter_error", 1).await;
}

#[tokio::test(flavor = "local")]
async fn a_listener_filter_may_turn_a_client_away() {
    let proxy = Proxy::serving(&[&inspecting("refuse: true", "")]);
    assert_eq!(read_to_end(&mut proxy.connect("l").await).await, "");
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_total"), 0);
}

#[tokio::test(flavor = "local")]
async fn a_restored_destination_leads_to_the_listener_of_that_address() {
    let port = RESTORED.rsplit_once(':').unwrap().1;
    let virtual_one = saying("virtual", "{remote_ip} to {local} ", &format!("bind_to_port: false, {LOG}"));
    let virtual_one = virtual_one.replace("port_value: 0", &format!("port_value: {port}"));
    let capture = saying("capture", "not me", &format!("use_original_dst: true, {LOG}"));
    let proxy = Proxy::serving(&[&capture, &virtual_one]);
    let mut client = proxy.connect("capture").await;
    expect(&mut client, &format!("127.0.0.1 to {RESTORED} ")).await;
    assert_eq!(proxy.server.stat(&format!("listener.127.0.0.1_{port}.downstream_cx_active")), 1);
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_total"), 0);
    assert_eq!(proxy.manager.connections(), 1);
    drop(client);
    proxy.server.wait_for(&format!("listener.127.0.0.1_{port}.downstream_cx_destroy"), 1).await;
    assert_eq!(proxy.server.logs.all().len(), 1, "one connection, one line");
}

#[tokio::test(flavor = "local")]
async fn a_restored_destination_that_nobody_serves_stays_where_it_is() {
    let proxy = Proxy::serving(&[&saying("capture", "{local} ", "use_original_dst: true")]);
    expect(&mut proxy.connect("capture").await, &format!("{RESTORED} ")).await;
}

// ── transport sockets ─────────────────────────────────────────────────────────────────────────

fn with_handshake(more: &str) -> String {
    let transport_socket = filter("Handshake", "");
    let chain = chain("served", &format!("name: tls, transport_socket: {transport_socket}, {more}"));
    with_chains("l", &[chain], LOG)
}

#[tokio::test(flavor = "local")]
async fn the_transport_socket_comes_before_the_filters() {
    let proxy = Proxy::serving(&[&with_handshake("")]);
    let mut client = proxy.connect("l").await;
    client.write_all(b"!").await.unwrap();
    expect(&mut client, "served").await;
}

#[tokio::test(flavor = "local")]
async fn a_failed_handshake_is_logged_with_its_reason() {
    let proxy = Proxy::serving(&[&with_handshake("")]);
    let mut client = proxy.connect("l").await;
    client.write_all(b"?").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_cx_destroy", 1).await;
    assert_eq!(proxy.server.logs.all(), ["flags=- details=- failure=bad_handshake"]);
}

#[tokio::test(flavor = "local")]
async fn a_slow_handshake_is_cut() {
    let proxy = Proxy::serving(&[&with_handshake("transport_socket_connect_timeout: 0.05s")]);
    assert_eq!(read_to_end(&mut proxy.connect("l").await).await, "");
    proxy.server.wait_for("listener.127.0.0.1_0.downstream_cx_transport_socket_connect_timeout", 1).await;
}
