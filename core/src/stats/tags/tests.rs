use super::*;

/// The name without its tags, and the tags as `name=value` with Envoy's common prefix left out.
fn extracted(rules: &TagRules, name: &str) -> String {
    let Tagged { name, tags } = rules.extract(name);
    let tags = tags.iter().map(|tag| format!(" {}={}", tag.name.trim_start_matches("envoy."), tag.value));
    std::iter::once(name).chain(tags).collect()
}

/// Names from Envoy's `/stats`, and what its `/stats/prometheus` made of them.
#[test]
fn default_tags_are_envoys() {
    let rules = TagRules::default();
    for (name, expected) in [
        ("cluster.adm.upstream_cx_total", "cluster.upstream_cx_total cluster_name=adm"),
        ("cluster.to.inner.upstream_cx_total", "cluster.inner.upstream_cx_total cluster_name=to"),
        (
            "cluster.adm.external.upstream_rq_404",
            "cluster.external.upstream_rq response_code=404 cluster_name=adm",
        ),
        (
            "cluster.adm.external.upstream_rq_4xx",
            "cluster.external.upstream_rq_xx response_code_class=4 cluster_name=adm",
        ),
        ("cluster.adm.health_check.success", "cluster.health_check.success cluster_name=adm"),
        (
            "cluster.adm.circuit_breakers.default.cx_open",
            "cluster.circuit_breakers.default.cx_open cluster_name=adm",
        ),
        (
            "listener.127.0.0.1_29001.downstream_cx_total",
            "listener.downstream_cx_total listener_address=127.0.0.1_29001",
        ),
        (
            "listener.127.0.0.1_29001.worker_1.downstream_cx_total",
            "listener.worker_downstream_cx_total worker_id=1 listener_address=127.0.0.1_29001",
        ),
        (
            "listener.[__1]_29007.downstream_cx_total",
            "listener.downstream_cx_total listener_address=[__1]_29007",
        ),
        (
            "listener.envoy_internal_inner_l.downstream_cx_total",
            "listener.downstream_cx_total listener_address=envoy_internal_inner_l",
        ),
        (
            "listener.envoy_internal_inner.dot_c.worker_0.downstream_cx_total",
            "listener.dot_c.worker_0.downstream_cx_total listener_address=envoy_internal_inner",
        ),
        (
            "listener./tmp/ev/p.sock.no_filter_chain_match",
            "listener.sock.no_filter_chain_match listener_address=/tmp/ev/p",
        ),
        ("listener.admin.main_thread.downstream_cx_total", "listener.admin.main_thread.downstream_cx_total"),
        (
            "listener.127.0.0.1_29002.http.ingress.downstream_rq_2xx",
            "listener.http.downstream_rq_xx response_code_class=2 http_conn_manager_prefix=ingress \
             listener_address=127.0.0.1_29002",
        ),
        ("http.ingress.fault.aborts_injected", "http.fault.aborts_injected http_conn_manager_prefix=ingress"),
        ("hlr.http_local_rate_limit.ok", "http_local_rate_limit.ok local_http_ratelimit_prefix=hlr"),
        (
            "vhost.vh.route.rt.upstream_rq_200",
            "vhost.route.upstream_rq response_code=200 virtual_host=vh route=rt",
        ),
        (
            "vhost.vh.vcluster.vc.upstream_rq_total",
            "vhost.vcluster.upstream_rq_total virtual_cluster=vc virtual_host=vh",
        ),
        ("tcp.outer.tcp.downstream_cx_total", "tcp.tcp.downstream_cx_total tcp_prefix=outer"),
        (
            "connection_limit.cl.limited_connections",
            "connection_limit.limited_connections connection_limit_prefix=cl",
        ),
        ("server.worker_1.watchdog_miss", "server.worker_watchdog_miss worker_id=1"),
        ("server.live", "server.live"),
    ] {
        assert_eq!(extracted(&rules, name), expected, "{name}");
    }
}

/// Names that the proxies of the table above do not have; the expectations are those of Envoy's documentation of the
/// tags.
#[test]
fn rarer_default_tags() {
    let rules = TagRules::default();
    for (name, expected) in [
        (
            "http.h.dynamodb.table.t.capacity.q.__partition_id=ABC1234",
            "http.dynamodb.table.capacity dynamo_partition_id=ABC1234 dynamo_operation=q dynamo_table=t \
             http_conn_manager_prefix=h",
        ),
        (
            "mongo.m.collection.c.callsite.s.query.multi_get",
            "mongo.collection.callsite.query.multi_get mongo_callsite=s mongo_collection=c mongo_prefix=m",
        ),
        (
            "mongo.m.collection.c.query.multi_get",
            "mongo.collection.query.multi_get mongo_collection=c mongo_prefix=m",
        ),
        (
            "cluster.c.grpc.svc.method.success",
            "cluster.grpc.success grpc_bridge_method=method grpc_bridge_service=svc cluster_name=c",
        ),
        (
            "listener.1.2.3.4_80.ssl.ciphers.ECDHE-RSA",
            "listener.ssl.ciphers ssl_cipher=ECDHE-RSA listener_address=1.2.3.4_80",
        ),
        ("cluster.c.ssl.ciphers.AES_128", "cluster.ssl.ciphers cipher_suite=AES_128 cluster_name=c"),
        ("cluster.c.ssl.versions.TLSv1.3", "cluster.ssl.versions ssl_version=TLSv1.3 cluster_name=c"),
        (
            "http.h.rds.my.route.update_success",
            "http.rds.update_success rds_route_config=my.route http_conn_manager_prefix=h",
        ),
        ("redis.r.downstream_cx_total", "redis.downstream_cx_total redis_prefix=r"),
        (
            "http.h.rbac.policy.p.allowed",
            "http.rbac.policy.allowed rbac_policy_name=p http_conn_manager_prefix=h",
        ),
        ("p.rbac.allowed", "rbac.allowed rbac_prefix=p"),
        ("proxy_proto.versions.v2.found", "proxy_proto.found proxy_protocol_version=2"),
        (
            "proxy_proto.p.versions.v1.error",
            "proxy_proto.error proxy_protocol_prefix=p proxy_protocol_version=1",
        ),
        (
            "cluster.c.health_check.name.deep.attempt",
            "cluster.health_check.attempt health_check_name=deep cluster_name=c",
        ),
    ] {
        assert_eq!(extracted(&rules, name), expected, "{name}");
    }
}

#[test]
fn every_default_pattern_compiles() {
    for extractor in defaults::extractors() {
        if let Pattern::Regex { source, .. } = &extractor.pattern {
            assert!(Regex::new(source).is_ok_and(|regex| regex.captures_len() >= 2), "{source}");
            assert!(!source.contains('<'), "{source}");
        }
    }
}

fn specifier(tag_name: &str, value: TagValue) -> TagSpecifier {
    TagSpecifier { tag_name: tag_name.to_owned(), value }
}

/// As Envoy orders them: fixed ones first, and a regex that begins with a word after the default ones of that word.
#[test]
fn configured_tags_add_to_the_default_ones() {
    let specifiers = [
        specifier("kind", TagValue::Regex(r"^cluster\.(?:[^.]+)\.(upstream_(cx|rq)_)".to_owned())),
        specifier("my.fixed", TagValue::Fixed("blue".to_owned())),
        specifier("one", TagValue::Regex("(_total)$".to_owned())),
    ];
    let rules = TagRules::new(true, &specifiers).unwrap();
    assert_eq!(
        extracted(&rules, "cluster.adm.upstream_rq_per_cx"),
        "cluster.per_cx my.fixed=blue cluster_name=adm kind=rq"
    );
    assert_eq!(extracted(&rules, "tcp.a.cx_total"), "tcp.cx my.fixed=blue one=_total tcp_prefix=a");
}

#[test]
fn default_tags_can_be_chosen_one_by_one() {
    let rules = TagRules::new(false, &[specifier("envoy.tcp_prefix", TagValue::Default)]).unwrap();
    assert_eq!(extracted(&rules, "tcp.a.x"), "tcp.x tcp_prefix=a");
    assert_eq!(extracted(&rules, "cluster.a.x"), "cluster.a.x");
}

#[test]
fn wrong_specifiers_are_explained() {
    let error = |name: &str, value| TagRules::new(true, &[specifier(name, value)]).unwrap_err().to_string();
    insta::assert_snapshot!(error("x", TagValue::Default), @"No regex specified for tag specifier and no default regex for name: 'x'; give `regex` or `fixed_value`");
    insta::assert_snapshot!(error("", TagValue::Regex("(a)".to_owned())), @"tag_name cannot be empty");
    insta::assert_snapshot!(error("x", TagValue::Regex("(a".to_owned())), @r"
    tag 'x': invalid regex '(a': regex parse error:
        (a
        ^
    error: unclosed group
    ");
}

proptest::proptest! {
    /// Whatever the name, extraction ends, and the name and the values are made of what was there.
    #[test]
    fn no_name_is_too_strange(name in r"(cluster|listener|http|tcp|vhost|mongo|[.$*\[\]_a-z0-9é]{0,4})([.$*\[\]_a-z0-9é]{0,12})") {
        let tagged = TagRules::default().extract(&name);
        proptest::prop_assert!(tagged.name.len() <= name.len());
        for tag in tagged.tags {
            proptest::prop_assert!(name.contains(&tag.value));
        }
    }
}
