use std::{sync::atomic::Ordering, time::Duration};

use underpass_core::cluster::{HealthFlag, LoadBalancerContext};

use super::test_manager::TestManager;
use crate::test_server::eventually;

const ONE: &str = "
name: up
load_assignment:
  cluster_name: up
  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]
";
const TWO: &str = "
name: up
load_assignment:
  cluster_name: up
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}
    - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 2}}}
";

#[test]
fn clusters_of_the_file_are_counted_and_named() {
    let test = TestManager::new();
    assert_eq!(test.add(ONE), Ok(true));
    assert_eq!(test.add(&ONE.replace("up", "other")), Ok(true));
    let names: Vec<_> = test.manager.statuses().into_iter().map(|status| status.name).collect();
    assert_eq!(names, ["other", "up"]);
    insta::assert_snapshot!(test.server.used("cluster_manager.").join("\n"), @"
    cluster_manager.active_clusters: 2
    cluster_manager.cluster_added: 2
    ");
}

#[test]
fn two_clusters_of_one_name_are_refused() {
    let test = TestManager::new();
    test.add(ONE).unwrap();
    insta::assert_snapshot!(test.add(TWO).unwrap_err(), @"clusters[0].name: cluster manager: duplicate cluster 'up'");
}

#[test]
fn each_host_is_counted_with_the_transport_socket_it_gets() {
    let test = TestManager::new();
    test.add(&ONE.replace("name: up", "name: one")).unwrap();
    test.add(&TWO.replace("name: up", "name: two")).unwrap();
    test.add("name: none").unwrap();
    let counted = |cluster: &str| test.server.stat(&format!("cluster.{cluster}.default.total_match_count"));
    assert_eq!((counted("one"), counted("two"), counted("none")), (1, 2, 0));
}

#[test]
fn a_control_plane_cannot_change_a_cluster_of_the_file() {
    let test = TestManager::new();
    test.add(ONE).unwrap();
    assert_eq!(test.update(TWO), Ok(false));
    assert!(!test.manager.remove("up"));
    assert_eq!(test.addresses("up"), ["127.0.0.1:1"]);
}

#[test]
fn the_same_again_changes_nothing() {
    let test = TestManager::new();
    assert_eq!(test.update(ONE), Ok(true));
    assert_eq!(test.update(ONE), Ok(false));
    assert_eq!(test.server.stat("cluster_manager.cluster_modified"), 0);
}

#[test]
fn other_hosts_alone_do_not_make_another_cluster() {
    let test = TestManager::new();
    test.update(ONE).unwrap();
    let before = test.manager.shared("up").unwrap();
    test.update(TWO).unwrap();
    let after = test.manager.shared("up").unwrap();
    assert!(std::sync::Arc::ptr_eq(&before, &after));
    assert_eq!(test.addresses("up"), ["127.0.0.1:1", "127.0.0.1:2"]);
    assert_eq!(test.server.stat("cluster_manager.cluster_modified"), 1);
    assert_eq!(test.server.stat("cluster.up.membership_change"), 2);
}

#[test]
fn hosts_stay_the_same_while_connections_are_made_as_before() {
    let test = TestManager::new();
    test.update(ONE).unwrap();
    let id = || test.manager.shared("up").unwrap().membership.hosts()[0].id;
    let first = id();
    test.update(&format!("{ONE}connect_timeout: 7s")).unwrap();
    assert_eq!(id(), first);
    test.update(&format!("{ONE}upstream_connection_options: {{tcp_keepalive: {{}}}}")).unwrap();
    assert_ne!(id(), first, "pooled connections must not outlive how they were made");
}

#[test]
fn connections_go_on_counting_where_limits_stay() {
    let test = TestManager::new();
    let limited =
        |limit: u32| format!("{ONE}circuit_breakers: {{thresholds: [{{max_connections: {limit}}}]}}\n");
    test.update(&limited(1)).unwrap();
    let connections = || test.manager.shared("up").unwrap().info.circuit_breakers.default.connections.clone();
    let _hold = connections().hold();
    test.update(&format!("{}connect_timeout: 7s", limited(1))).unwrap();
    assert!(!connections().has_room());
    test.update(&limited(2)).unwrap();
    assert_eq!(connections().in_use(), 0);
}

#[tokio::test]
async fn workers_see_what_is_added_changed_and_removed() {
    let local = tokio::task::LocalSet::new();
    let test = TestManager::new();
    local
        .run_until(async {
            let worker = test.worker();
            let view = worker.cluster_manager().unwrap();
            assert!(view.cluster("up").is_none());
            let added = view.changed("up");
            test.update(ONE).unwrap();
            added.await;
            let before = view.cluster("up").unwrap();
            assert_eq!(before.info().connect_timeout, Duration::from_secs(5));
            assert!(std::rc::Rc::ptr_eq(&before, &view.cluster("up").unwrap()));
            assert_eq!(test.server.stat("thread_local_cluster_manager.worker_0.clusters_inflated"), 1);
            let changed = view.changed("up");
            test.update(&format!("{ONE}connect_timeout: 7s")).unwrap();
            assert_eq!(view.cluster("up").unwrap().info().connect_timeout, Duration::from_secs(7));
            changed.await;
            let removed = view.changed("up");
            assert!(test.manager.remove("up"));
            removed.await;
            assert!(view.cluster("up").is_none());
            let host = before.choose_host(&LoadBalancerContext::default());
            assert!(host.is_some(), "who holds a cluster goes on using it");
        })
        .await;
    assert_eq!(test.server.stat("cluster_manager.cluster_removed"), 1);
}

#[tokio::test]
async fn workers_forget_what_they_kept_for_hosts_that_are_gone() {
    let local = tokio::task::LocalSet::new();
    let test = TestManager::new();
    test.update(TWO).unwrap();
    local
        .run_until(async {
            let worker = test.worker();
            worker.cluster_manager().unwrap().cluster("up").unwrap();
            let hosts = test.manager.shared("up").unwrap().membership.hosts();
            let ids: Vec<_> = hosts.iter().map(|host| host.id).collect();
            worker.host_slots(ids[0]).insert(std::rc::Rc::new("pool of the first"));
            worker.host_slots(ids[1]).insert(std::rc::Rc::new("pool of the second"));
            test.update(ONE).unwrap();
            let kept = |id| worker.host_slots(id).get::<&str>().is_some();
            // Nobody asks for the cluster; the view hears of it all the same.
            eventually(|| !kept(ids[1]), || "the second host is still known".to_owned()).await;
            assert!(kept(ids[0]));
            test.manager.remove("up");
            eventually(|| !kept(ids[0]), || "the first host is still known".to_owned()).await;
        })
        .await;
}

#[tokio::test]
async fn pools_of_all_hosts_can_be_made_to_drain_when_hosts_come_or_go() {
    let local = tokio::task::LocalSet::new();
    let test = TestManager::new();
    let draining =
        |yaml: &str| format!("{yaml}common_lb_config: {{close_connections_on_host_set_change: true}}\n");
    test.update(&draining(ONE)).unwrap();
    local
        .run_until(async {
            let worker = test.worker();
            worker.cluster_manager().unwrap().cluster("up").unwrap();
            let id = test.manager.shared("up").unwrap().membership.hosts()[0].id;
            worker.host_slots(id).insert(std::rc::Rc::new("pool"));
            test.update(&draining(TWO)).unwrap();
            let kept = || worker.host_slots(id).get::<&str>().is_some();
            eventually(|| !kept(), || "the pool is still there".to_owned()).await;
        })
        .await;
}

#[tokio::test]
async fn a_change_of_health_changes_who_is_picked() {
    let local = tokio::task::LocalSet::new();
    let test = TestManager::new();
    test.add(TWO).unwrap();
    local
        .run_until(async {
            let worker = test.worker();
            let cluster = worker.cluster_manager().unwrap().cluster("up").unwrap();
            let ill = test.manager.shared("up").unwrap().membership.hosts()[0].id;
            assert!(test.manager.set_health("up", ill, HealthFlag::FailedOutlierCheck, true));
            for _ in 0..4 {
                assert_ne!(cluster.choose_host(&LoadBalancerContext::default()).unwrap().id, ill);
            }
        })
        .await;
    assert_eq!(test.server.stat("cluster_manager.cluster_updated"), 1);
}

#[test]
fn clusters_are_shown_as_text_and_as_json() {
    let test = TestManager::new();
    test.add(
        "
name: up
load_assignment:
  cluster_name: up
  endpoints:
  - locality: {region: r, zone: z}
    priority: 1
    lb_endpoints:
    - endpoint: {hostname: h, address: {envoy_internal_address: {server_listener_name: inner, endpoint_id: ep1}}}
      load_balancing_weight: 7
      health_status: DRAINING
      metadata: {filter_metadata: {envoy.lb: {canary: true}}}
",
    )
    .unwrap();
    let hosts = test.manager.shared("up").unwrap().membership.hosts();
    hosts[0].stats.cx_total.store(3, Ordering::Relaxed);
    let status = test.manager.statuses().remove(0);
    let mut text = String::new();
    status.write_text(&mut text);
    insta::assert_snapshot!(text, @"
    up::observability_name::up
    up::default_priority::max_connections::1024
    up::default_priority::max_pending_requests::1024
    up::default_priority::max_requests::1024
    up::default_priority::max_retries::3
    up::high_priority::max_connections::1024
    up::high_priority::max_pending_requests::1024
    up::high_priority::max_requests::1024
    up::high_priority::max_retries::3
    up::added_via_api::false
    up::envoy://inner/ep1::cx_active::0
    up::envoy://inner/ep1::cx_connect_fail::0
    up::envoy://inner/ep1::cx_total::3
    up::envoy://inner/ep1::rq_active::0
    up::envoy://inner/ep1::rq_error::0
    up::envoy://inner/ep1::rq_pending_active::0
    up::envoy://inner/ep1::rq_success::0
    up::envoy://inner/ep1::rq_timeout::0
    up::envoy://inner/ep1::rq_total::0
    up::envoy://inner/ep1::hostname::h
    up::envoy://inner/ep1::health_flags::/eds_status_draining
    up::envoy://inner/ep1::weight::7
    up::envoy://inner/ep1::region::r
    up::envoy://inner/ep1::zone::z
    up::envoy://inner/ep1::sub_zone::
    up::envoy://inner/ep1::canary::true
    up::envoy://inner/ep1::priority::1
    up::envoy://inner/ep1::success_rate::-1
    up::envoy://inner/ep1::local_origin_success_rate::-1
    ");
    insta::assert_snapshot!(status.to_json(), @r#"{"circuit_breakers":{"thresholds":[{"max_connections":1024,"max_pending_requests":1024,"max_requests":1024,"max_retries":3},{"max_connections":1024,"max_pending_requests":1024,"max_requests":1024,"max_retries":3,"priority":"HIGH"}]},"host_statuses":[{"address":{"envoy_internal_address":{"endpoint_id":"ep1","server_listener_name":"inner"}},"health_status":{"eds_health_status":"DRAINING"},"hostname":"h","locality":{"region":"r","zone":"z"},"priority":1,"stats":[{"name":"cx_connect_fail"},{"name":"cx_total","value":"3"},{"name":"rq_error"},{"name":"rq_success"},{"name":"rq_timeout"},{"name":"rq_total"},{"name":"cx_active","type":"GAUGE"},{"name":"rq_active","type":"GAUGE"},{"name":"rq_pending_active","type":"GAUGE"}],"weight":7}],"name":"up","observability_name":"up"}"#);
}

#[test]
fn config_dump_tells_clusters_of_the_file_from_others() {
    let test = TestManager::new();
    test.add(ONE).unwrap();
    test.update("{name: other, connect_timeout: 1s}").unwrap();
    let mut dump = test.manager.config_dump();
    for list in ["static_clusters", "dynamic_active_clusters"] {
        dump[list][0]["last_updated"] = "then".into();
    }
    insta::assert_snapshot!(dump, @r#"{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","connect_timeout":"1s","name":"other"},"last_updated":"then","version_info":"1"}],"static_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","load_assignment":{"cluster_name":"up","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":1}}}}]}]},"name":"up"},"last_updated":"then"}]}"#);
}
