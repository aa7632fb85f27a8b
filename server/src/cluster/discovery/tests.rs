//! Clusters that resolve names, with a fake name server and a fake clock.

use std::time::Duration;

use crate::cluster_manager::test_manager::TestManager;

/// A cluster of these names, all at port 80.
fn cluster(kind: &str, names: &[&str], more: &str) -> String {
    let endpoint = |name: &&str| {
        format!("    - endpoint: {{address: {{socket_address: {{address: \"{name}\", port_value: 80}}}}}}\n")
    };
    let endpoints = names.iter().map(endpoint).collect::<Vec<_>>().concat();
    format!(
        "name: up\ntype: {kind}\nload_assignment:\n  cluster_name: up\n  endpoints:\n  - lb_endpoints:\n{endpoints}{more}\n"
    )
}

/// Lets discovery do what there is to do within so many seconds.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

impl TestManager {
    fn members(&self) -> u64 {
        self.server.stat("cluster.up.membership_total")
    }
}

#[tokio::test(start_paused = true)]
async fn every_address_of_a_name_is_a_host() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1", "192.0.2.2", "192.0.2.1"], None);
    test.add(&cluster("STRICT_DNS", &["a"], "")).unwrap();
    test.start();
    test.manager.initialized().await;
    assert_eq!(test.addresses("up"), ["192.0.2.1:80", "192.0.2.2:80"]);
    assert_eq!(test.manager.statuses()[0].hosts[0].hostname, "a");
    insta::assert_snapshot!(test.server.used("cluster.up.").join("\n"), @"
    cluster.up.default.total_match_count: 2
    cluster.up.max_host_weight: 1
    cluster.up.membership_change: 1
    cluster.up.membership_healthy: 2
    cluster.up.membership_total: 2
    cluster.up.update_attempt: 1
    cluster.up.update_success: 1
    ");
}

#[tokio::test(start_paused = true)]
async fn the_start_waits_for_the_first_answer_be_it_good_or_bad() {
    for name in ["known", "unknown"] {
        let test = TestManager::new();
        test.names.set("known", &["192.0.2.1"], None);
        test.add(&cluster("STRICT_DNS", &[name], "")).unwrap();
        assert!(test.manager.waiting().is_empty(), "nothing runs yet");
        test.start();
        assert_eq!(test.manager.waiting(), ["cluster up"]);
        test.manager.initialized().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_start_need_not_wait() {
    let test = TestManager::new();
    test.add(&cluster("STRICT_DNS", &["a"], "wait_for_warm_on_init: false")).unwrap();
    test.start();
    assert!(test.manager.waiting().is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_again_and_hosts_follow() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.names.set("b", &["192.0.2.9"], None);
    test.add(&cluster("STRICT_DNS", &["a", "b"], "dns_refresh_rate: 10s")).unwrap();
    test.start();
    pass(1).await;
    let before = test.manager.shared("up").unwrap().membership.hosts();
    test.names.set("a", &["192.0.2.2", "192.0.2.1"], None);
    pass(10).await;
    assert_eq!(test.addresses("up"), ["192.0.2.2:80", "192.0.2.1:80", "192.0.2.9:80"]);
    let after = test.manager.shared("up").unwrap().membership.hosts();
    assert_eq!((after[1].id, after[2].id), (before[0].id, before[1].id));
    insta::assert_snapshot!(test.counted("up"), @"
    max_host_weight: 1
    update_attempt: 4
    update_no_rebuild: 1
    update_success: 4
    ");
    assert_eq!(test.server.stat("cluster_manager.cluster_updated"), 2, "what came after the first answer");
}

#[tokio::test(start_paused = true)]
async fn hosts_stay_while_the_name_server_fails_and_go_when_the_name_does() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.add(&cluster("STRICT_DNS", &["a"], "dns_refresh_rate: 10s")).unwrap();
    test.start();
    pass(1).await;
    test.names.fail("a");
    pass(10).await;
    assert_eq!((test.members(), test.server.stat("cluster.up.update_failure")), (1, 1));
    test.names.set("a", &[], None);
    pass(10).await;
    assert_eq!((test.members(), test.server.stat("cluster.up.update_success")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_time_to_live_of_an_answer_can_replace_the_refresh_rate() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], Some(Duration::from_secs(100)));
    test.add(&cluster("STRICT_DNS", &["a"], "respect_dns_ttl: true")).unwrap();
    test.start();
    pass(99).await;
    assert_eq!(test.server.stat("cluster.up.update_attempt"), 1);
    pass(2).await;
    assert_eq!(test.server.stat("cluster.up.update_attempt"), 2);
}

#[tokio::test(start_paused = true)]
async fn names_stand_in_priorities_and_places() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.names.set("b", &["192.0.2.2"], None);
    test.add(
        "
name: up
type: STRICT_DNS
load_assignment:
  cluster_name: up
  endpoints:
  - locality: {zone: near}
    lb_endpoints: [{endpoint: {address: {socket_address: {address: a, port_value: 80}}}}]
  - locality: {zone: far}
    priority: 1
    lb_endpoints:
    - endpoint: {hostname: name, address: {socket_address: {address: b, port_value: 80}}}
      load_balancing_weight: 4
",
    )
    .unwrap();
    test.start();
    pass(1).await;
    let hosts = &test.manager.statuses()[0].hosts;
    let shown = hosts.iter().map(|host| {
        format!("{} {} {} {} {}", host.priority, host.locality.zone, host.address, host.hostname, host.weight)
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @"
    0 near 192.0.2.1:80 a 1
    1 far 192.0.2.2:80 name 4
    ");
    assert_eq!(test.server.stat("cluster.up.max_host_weight"), 4);
}

// Envoy takes the internal address for an empty name, which is resolved to nothing with success.
#[tokio::test(start_paused = true)]
async fn an_internal_address_is_never_resolved() {
    let test = TestManager::new();
    test.add(
        "
name: up
type: STRICT_DNS
load_assignment:
  cluster_name: up
  endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: inner}}}}]}]
",
    )
    .unwrap();
    test.start();
    test.manager.initialized().await;
    insta::assert_snapshot!(test.counted("up"), @"
    max_host_weight: 1
    update_attempt: 1
    update_no_rebuild: 1
    update_success: 1
    ");
}

#[tokio::test(start_paused = true)]
async fn a_logical_host_has_the_first_address_and_the_others_in_reserve() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1", "192.0.2.2"], None);
    test.add(&cluster("LOGICAL_DNS", &["a"], "dns_lookup_family: V4_ONLY")).unwrap();
    test.start();
    test.manager.initialized().await;
    let host = test.manager.shared("up").unwrap().membership.hosts().remove(0);
    assert_eq!(host.address.to_string(), "192.0.2.1:80");
    assert_eq!(host.additional_addresses[0].to_string(), "192.0.2.2:80");
}

// As Envoy 1.40 does; connections to the old address live on.
#[tokio::test(start_paused = true)]
async fn a_logical_host_at_another_address_is_another_host() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.add(&cluster("LOGICAL_DNS", &["a"], "")).unwrap();
    test.start();
    pass(1).await;
    test.names.set("a", &["192.0.2.2"], None);
    pass(5).await;
    assert_eq!(test.addresses("up"), ["192.0.2.2:80"]);
    assert_eq!((test.members(), test.server.stat("cluster.up.membership_change")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_logical_host_stays_when_its_name_is_gone() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.add(&cluster("LOGICAL_DNS", &["a"], "")).unwrap();
    test.start();
    pass(1).await;
    test.names.set("a", &[], None);
    pass(5).await;
    assert_eq!((test.members(), test.server.stat("cluster.up.update_failure")), (1, 1));
}

#[test]
fn a_logical_cluster_has_one_name() {
    let test = TestManager::new();
    insta::assert_snapshot!(test.add(&cluster("LOGICAL_DNS", &["a", "b"], "")).unwrap_err(), @"clusters[0].load_assignment: LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint");
    assert!(test.add("{name: up, type: LOGICAL_DNS}").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_comes_later_is_used_when_its_hosts_are_known() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.start();
    test.update(&cluster("STRICT_DNS", &["a"], "")).unwrap();
    assert!(test.manager.statuses().is_empty());
    assert_eq!(test.server.stat("cluster_manager.warming_clusters"), 1);
    assert_eq!(test.manager.config_dump()["dynamic_warming_clusters"][0]["cluster"]["name"], "up");
    pass(1).await;
    assert_eq!(test.addresses("up"), ["192.0.2.1:80"]);
    assert_eq!(test.server.stat("cluster_manager.warming_clusters"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_version_before_serves_until_the_next_one_knows_its_hosts() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.start();
    test.update(&cluster("STRICT_DNS", &["a"], "")).unwrap();
    pass(1).await;
    let first = test.manager.shared("up").unwrap().membership.hosts().remove(0);
    test.update(&cluster("STRICT_DNS", &["a"], "connect_timeout: 9s")).unwrap();
    assert_eq!(test.manager.shared("up").unwrap().info.connect_timeout, Duration::from_secs(5));
    pass(1).await;
    let next = test.manager.shared("up").unwrap();
    assert_eq!(next.info.connect_timeout, Duration::from_secs(9));
    assert_eq!(next.membership.hosts()[0].id, first.id);
    let attempts = || test.server.stat("cluster.up.update_attempt");
    let before = attempts();
    pass(5).await;
    assert_eq!(attempts(), before + 1, "the version before does not go on asking");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_removed_is_not_resolved_any_more() {
    let test = TestManager::new();
    test.names.set("a", &["192.0.2.1"], None);
    test.start();
    test.update(&cluster("STRICT_DNS", &["a"], "")).unwrap();
    pass(1).await;
    let attempts = test.server.store.scope("cluster.up").counter("update_attempt");
    assert!(test.manager.remove("up"));
    let before = attempts.value();
    pass(60).await;
    assert_eq!(attempts.value(), before);
}
