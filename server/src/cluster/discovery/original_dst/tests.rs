use std::{rc::Rc, sync::Arc, time::Duration};

use underpass_core::{
    address::Address,
    cluster::{Cluster, LoadBalancerContext},
    config::{Struct, Value},
    filter_state::{Entry, LifeSpan, SharedWithUpstream, object_factory},
    formatter::Headers,
    stream_info::{ListenerInfo, StreamInfo},
    worker::Worker,
};

use crate::{cluster_manager::test_manager::TestManager, test_server::eventually};

const CLUSTER: &str = "{name: dst, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}";
const EVERYTHING: &str = "{name: dst, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {
    use_http_header: true, metadata_key: {key: ns, path: [{key: a}, {key: b}]}, upstream_port_override: 15008}}";

/// Why a cluster with these fields is refused.
fn refused(fields: &str) -> String {
    TestManager::new().add(&format!("{{name: c, {fields}}}")).unwrap_err()
}

fn stream() -> StreamInfo {
    let address = |text: &str| Address::Socket(text.parse().unwrap());
    StreamInfo::new(1, Arc::new(ListenerInfo::default()), address("9.9.9.9:99"), address("10.0.0.1:80"))
}

/// A stream whose local address a listener filter put there.
fn redirected() -> StreamInfo {
    let info = stream();
    info.local_address_restored.set(true);
    info
}

fn with_metadata(text: &str) -> StreamInfo {
    let info = redirected();
    let inner = Struct::from_iter([("b".to_owned(), Value::String(text.into()))]);
    info.dynamic_metadata.borrow_mut().set("ns", Struct::from_iter([("a".to_owned(), Value::Struct(inner))]));
    info
}

fn with_filter_state(info: StreamInfo, text: &str) -> StreamInfo {
    let name = "envoy.network.transport_socket.original_dst_address";
    let entry = Entry {
        object: (object_factory(name).unwrap().create)(text).unwrap(),
        read_only: true,
        life_span: LifeSpan::Connection,
        shared_with_upstream: SharedWithUpstream::None,
    };
    info.filter_state.borrow_mut().set(name, entry).unwrap();
    info
}

struct Header(&'static str);

impl Headers for Header {
    fn request(&self, name: &str) -> Option<&str> {
        (name == "x-envoy-original-dst-host").then_some(self.0)
    }

    fn response(&self, _: &str) -> Option<&str> {
        None
    }

    fn response_trailer(&self, _: &str) -> Option<&str> {
        None
    }
}

fn cluster(worker: &Worker) -> Rc<dyn Cluster> {
    worker.cluster_manager().unwrap().cluster("dst").unwrap()
}

/// Where a connection goes on behalf of a stream.
fn destination(worker: &Worker, info: &StreamInfo, header: Option<&'static str>) -> String {
    let header = header.map(Header);
    let headers = header.as_ref().map(|header| header as &dyn Headers);
    let context = LoadBalancerContext { downstream: Some(info), headers, ..LoadBalancerContext::default() };
    let host = cluster(worker).choose_host(&context);
    host.map_or_else(|| "none".to_owned(), |host| host.address.to_string())
}

async fn with_worker<F: Future<Output = ()>>(test: &TestManager, then: impl FnOnce(Rc<Worker>) -> F) {
    tokio::task::LocalSet::new()
        .run_until(async {
            let worker = test.worker();
            then(worker).await;
        })
        .await;
}

/// The order is the one that Envoy 1.40 was seen to have.
#[tokio::test]
async fn filter_state_goes_before_metadata_before_the_header_before_the_restored_address() {
    let test = TestManager::new();
    test.add(EVERYTHING).unwrap();
    with_worker(&test, async |worker| {
        let to = |info: StreamInfo, header| destination(&worker, &info, header);
        assert_eq!(to(stream(), None), "none", "nobody redirected this one");
        assert_eq!(to(redirected(), None), "10.0.0.1:15008");
        assert_eq!(to(redirected(), Some("1.1.1.1:11")), "1.1.1.1:15008");
        assert_eq!(to(stream(), Some("[::1]:11")), "[::1]:15008");
        assert_eq!(to(with_metadata("2.2.2.2:22"), Some("1.1.1.1:11")), "2.2.2.2:15008");
        let all = with_filter_state(with_metadata("2.2.2.2:22"), "3.3.3.3:33");
        assert_eq!(to(all, Some("1.1.1.1:11")), "3.3.3.3:15008");
    })
    .await;
    assert_eq!(test.counted("dst"), "upstream_cx_none_healthy: 1");
}

#[tokio::test]
async fn what_is_no_address_is_counted_and_passed_over() {
    let test = TestManager::new();
    test.add(EVERYTHING).unwrap();
    with_worker(&test, async |worker| {
        assert_eq!(destination(&worker, &with_metadata("x"), Some("1.1.1.1")), "10.0.0.1:15008");
    })
    .await;
    assert_eq!(test.counted("dst"), "original_dst_host_invalid: 2");
}

#[tokio::test]
async fn a_header_counts_only_where_that_is_configured() {
    let test = TestManager::new();
    test.add(CLUSTER).unwrap();
    with_worker(&test, async |worker| {
        assert_eq!(destination(&worker, &stream(), Some("1.1.1.1:11")), "none");
        assert_eq!(destination(&worker, &with_metadata("2.2.2.2:22"), None), "10.0.0.1:80");
    })
    .await;
}

#[tokio::test]
async fn the_address_is_that_of_the_connection_below_a_request() {
    let test = TestManager::new();
    test.add(CLUSTER).unwrap();
    with_worker(&test, async |worker| {
        let (request, connection) = (stream(), redirected());
        let context = LoadBalancerContext {
            downstream: Some(&request),
            downstream_connection: Some(&connection),
            ..LoadBalancerContext::default()
        };
        let host = cluster(&worker).choose_host(&context).unwrap();
        assert_eq!((host.address.to_string().as_str(), &*host.hostname), ("10.0.0.1:80", "dst10.0.0.1:80"));
    })
    .await;
}

#[tokio::test]
async fn workers_share_hosts_and_everybody_sees_them() {
    let test = TestManager::new();
    test.add(CLUSTER).unwrap();
    test.start();
    with_worker(&test, async |first| {
        let second = test.worker();
        let info = redirected();
        let context = LoadBalancerContext { downstream: Some(&info), ..LoadBalancerContext::default() };
        let hosts = [&first, &second, &first].map(|worker| cluster(worker).choose_host(&context).unwrap().id);
        assert!(hosts.iter().all(|id| *id == hosts[0]));
        eventually(|| test.addresses("dst") == ["10.0.0.1:80"], || format!("{:?}", test.addresses("dst")))
            .await;
        assert_eq!(test.server.stat("cluster.dst.membership_total"), 1);
        assert_eq!(test.server.stat("cluster.dst.default.total_match_count"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hosts_that_nobody_uses_go_and_workers_forget_them() {
    let test = TestManager::new();
    test.add(CLUSTER).unwrap();
    test.start();
    with_worker(&test, async |worker| {
        let info = redirected();
        let context = LoadBalancerContext { downstream: Some(&info), ..LoadBalancerContext::default() };
        let host = cluster(&worker).choose_host(&context).unwrap();
        worker.host_slots(host.id).insert(Rc::new("pool"));
        let kept = || worker.host_slots(host.id).get::<&str>().is_some();
        let connection = &host.stats.cx_active;
        connection.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(test.addresses("dst"), ["10.0.0.1:80"], "it has a connection");
        assert!(kept());
        connection.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        cluster(&worker).choose_host(&context).unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(test.addresses("dst"), ["10.0.0.1:80"], "it was picked a moment ago");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(test.addresses("dst").is_empty() && !kept());
        let again = cluster(&worker).choose_host(&context).unwrap();
        assert_ne!(again.id, host.id);
    })
    .await;
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_in_envoys_words() {
    insta::assert_snapshot!(refused("type: ORIGINAL_DST"), @"clusters[0].lb_policy: LB policy ROUND_ROBIN is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'");
    insta::assert_snapshot!(refused("type: STATIC, lb_policy: CLUSTER_PROVIDED"), @"clusters[0].lb_policy: cluster manager: cluster provided LB specified but cluster 'c' did not provide one. Check cluster documentation.");
    let provided = "type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED";
    insta::assert_snapshot!(refused(&format!("{provided}, load_assignment: {{cluster_name: c}}")), @"clusters[0].load_assignment: ORIGINAL_DST clusters must have no load assignment configured");
    insta::assert_snapshot!(refused(&format!("{provided}, lb_subset_config: {{subset_selectors: [{{keys: [a]}}]}}")), @"clusters[0].lb_subset_config: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config");
    insta::assert_snapshot!(refused(&format!("{provided}, original_dst_lb_config: {{http_header_name: foo}}")), @"clusters[0].original_dst_lb_config.http_header_name: ORIGINAL_DST cluster: invalid config http_header_name=foo and use_http_header is false. Set use_http_header to true if http_header_name is desired.");
}
