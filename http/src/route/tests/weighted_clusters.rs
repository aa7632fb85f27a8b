//! How one of several clusters is picked, and what it changes.

use underpass_core::{config::Value, runtime::Layer};

use super::*;

fn cluster(routes: &Routes, headers: &[(&str, &str)], random: u64) -> Option<String> {
    let head = request("GET", "/", headers);
    let route = routes.table.route(&head, &routes.info, random)?;
    route.forward()?.cluster(&head).map(str::to_owned)
}

fn weighted(fields: &str) -> Routes {
    Routes::of(&format!(
        "[{{match: {{prefix: /}}, route: {{weighted_clusters: {{{fields}}}, hash_policy: [{{header: {{header_name: x-k}}}}]}}}}]"
    ))
}

const ONE_AND_TWO: &str = "clusters: [{name: a, weight: 1}, {name: none, weight: 0}, {name: b, weight: 2}]";

#[test]
fn clusters_get_their_shares() {
    let routes = weighted(ONE_AND_TWO);
    let picked: Vec<_> = (0..6).map(|random| cluster(&routes, &[], random).unwrap()).collect();
    assert_eq!(picked, ["a", "b", "b", "a", "b", "b"]);
}

#[test]
fn a_header_can_hold_the_number() {
    let routes = weighted(&format!("header_name: X-R, {ONE_AND_TWO}"));
    for (value, expected) in
        [("0", "a"), ("1", "b"), ("2", "b"), ("3", "a"), ("18446744073709551615", "a"), ("x", "b")]
    {
        assert_eq!(cluster(&routes, &[("x-r", value)], 1).unwrap(), expected, "{value}");
    }
}

/// The six picks are Envoy's.
#[test]
fn the_hash_policy_can_pick() {
    let routes =
        weighted("use_hash_policy: true, clusters: [{name: up1, weight: 1}, {name: up2, weight: 1}]");
    let picked = ["a", "b", "c", "d", "e", "f"].map(|key| cluster(&routes, &[("x-k", key)], 0).unwrap());
    assert_eq!(picked, ["up2", "up2", "up2", "up1", "up1", "up2"]);
    assert_eq!(cluster(&routes, &[], 1).unwrap(), "up2", "without a hash, chance does");
}

#[test]
fn the_runtime_can_change_weights() {
    let routes = weighted(&format!("runtime_key_prefix: w, {ONE_AND_TWO}"));
    let set = |values: &[(&str, f64)]| {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), Value::Number(*value))).collect();
        routes.server.context.runtime.set_layer(Layer { name: "admin".into(), admin: true, values });
    };
    set(&[("w.b", 0.0), ("w.none", 1.0)]);
    assert_eq!([0, 1, 2].map(|random| cluster(&routes, &[], random).unwrap()), ["a", "none", "a"]);
    set(&[("w.a", 0.0), ("w.b", 0.0)]);
    assert_eq!(cluster(&routes, &[], 0), None);
}

#[test]
fn each_cluster_has_its_own_view_of_the_route() {
    let routes = Routes::of(
        "[{match: {prefix: /}, name: r, route: {
            metadata_match: {filter_metadata: {envoy.lb: {stage: prod, a: '1'}}},
            append_x_forwarded_host: true,
            weighted_clusters: {clusters: [
              {name: a, weight: 1, host_rewrite_literal: w.host, metadata_match: {filter_metadata: {envoy.lb: {stage: canary}}}},
              {cluster_header: x-c, weight: 1}]}}}]",
    );
    let head = request("GET", "/", &[("x-c", "from-header")]);
    let picked = |random| routes.table.route(&head, &routes.info, random).unwrap();
    let (first, second) = (picked(0), picked(1));
    assert_eq!([&first.name, &second.name].map(|name| &**name), ["r", "r"]);
    let values = |route: &Route| {
        let values = route.forward().unwrap().metadata_match.clone().unwrap();
        values
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!([values(&first), values(&second)], ["a=1 stage=canary", "a=1 stage=prod"]);
    assert_eq!(second.forward().unwrap().cluster(&head), Some("from-header"));
    assert_eq!(second.forward().unwrap().cluster(&request("GET", "/", &[])), None);
    let mut head = head;
    first.finalize_request(&mut head, &routes.info, true);
    assert_eq!(head.authority(), "w.host", "Envoy notes the old host of the route's own rewrite only");
    assert_eq!(print(&head.headers), "x-c: from-header");
}
