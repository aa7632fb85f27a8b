//! The sections of `/config_dump` about routes (`envoy.admin.v3.RoutesConfigDump`, `ScopedRoutesConfigDump`).
//!
//! The route configurations of a listener are those of its HTTP connection managers. As in Envoy, there are no such sections
//! without a connection manager.

use std::sync::{Arc, Weak};

use serde_json::{Value, json};
use underpass_core::{
    config::Node,
    config_subscription::{AcceptedResource, AcceptedResources},
};

use super::{ListenerManager, snapshot::Placement, state::State};
use crate::timestamp;

const ROUTE_CONFIGURATION: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const ROUTE_CONFIGURATION_NAME: &str = "envoy.config.route.v3.RouteConfiguration";
const CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Lets `/config_dump` ask the manager.
pub(super) fn add(manager: &Arc<ListenerManager>) {
    let section = |dump: fn(&State, &AcceptedResources) -> Value| {
        let weak: Weak<ListenerManager> = Arc::downgrade(manager);
        Box::new(move || {
            let Some(manager) = weak.upgrade() else { return Value::Null };
            let accepted = AcceptedResources::of(&manager.server.singletons);
            dump(&manager.lock(), &accepted)
        })
    };
    manager.server.admin.add_config_dump("routes", section(routes));
    manager.server.admin.add_config_dump("route_scopes", section(route_scopes));
}

fn routes(state: &State, accepted: &AcceptedResources) -> Value {
    let mut has_manager = false;
    let mut configs = Vec::new();
    for placement in placements(state) {
        let origin = &placement.listener.origin;
        for manager in connection_managers(&origin.node) {
            has_manager = true;
            if let Some(config) = field(manager, "route_config", "routeConfig") {
                let mut config = config.to_json();
                config["@type"] = json!(ROUTE_CONFIGURATION);
                configs.push(json!({ "route_config": config, "last_updated": origin.last_updated }));
            }
        }
    }
    let mut section = json!({ "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump" });
    if !configs.is_empty() {
        section["static_route_configs"] = configs.into();
    }
    let dynamic: Vec<_> = accepted.of_type(ROUTE_CONFIGURATION_NAME).iter().map(dynamic).collect();
    if !dynamic.is_empty() {
        section["dynamic_route_configs"] = dynamic.into();
    }
    if has_manager { section } else { Value::Null }
}

/// A route configuration that came from a source.
fn dynamic(resource: &AcceptedResource) -> Value {
    let mut config = resource.node.to_json();
    config["@type"] = json!(ROUTE_CONFIGURATION);
    let mut entry = json!({ "route_config": config, "last_updated": timestamp::at(resource.since) });
    if !resource.version.is_empty() {
        entry["version_info"] = json!(*resource.version);
    }
    entry
}

fn route_scopes(state: &State, _: &AcceptedResources) -> Value {
    let has_manager =
        placements(state).any(|it| connection_managers(&it.listener.origin.node).next().is_some());
    if has_manager {
        json!({ "@type": "type.googleapis.com/envoy.admin.v3.ScopedRoutesConfigDump" })
    } else {
        Value::Null
    }
}

fn placements(state: &State) -> impl Iterator<Item = &Arc<Placement>> {
    state.active.values().chain(&state.draining)
}

/// The typed configs of a listener's connection managers.
fn connection_managers(listener: &Node) -> impl Iterator<Item = &Arc<Node>> {
    let chains =
        field(listener, "filter_chains", "filterChains").into_iter().flat_map(|chains| chains.elements());
    let chains = chains.chain(field(listener, "default_filter_chain", "defaultFilterChain"));
    let filters = chains.filter_map(|chain| chain.get("filters")).flat_map(|filters| filters.elements());
    let configs = filters.filter_map(|filter| field(filter, "typed_config", "typedConfig"));
    configs.filter(|config| {
        let url = config.get("@type").and_then(|url| url.as_text());
        url.is_some_and(|url| url.rsplit('/').next() == Some(CONNECTION_MANAGER))
    })
}

/// A field, by the one of its two names that it has in the file.
fn field<'n>(message: &'n Node, name: &str, camel_case: &str) -> Option<&'n Arc<Node>> {
    message.get(name).or_else(|| message.get(camel_case))
}

#[cfg(test)]
mod tests {
    use underpass_core::config::parse_yaml;

    use super::*;

    #[test]
    fn connection_managers_are_found_in_all_filter_chains() {
        let manager = |name: &str| {
            format!(
                "{{name: h, typedConfig: {{'@type': type.googleapis.com/{CONNECTION_MANAGER}, routeConfig: {{name: {name}}}}}}}"
            )
        };
        let listener = format!(
            "{{filterChains: [{{filters: [{{name: echo, typed_config: {{'@type': x.y/Echo}}}}, {}]}}], default_filter_chain: {{filters: [{}]}}}}",
            manager("a"),
            manager("b")
        );
        let document = parse_yaml("x.yaml", &listener).unwrap();
        let name = |manager: &Arc<Node>| {
            field(manager, "route_config", "routeConfig")?.get("name")?.as_text().map(str::to_owned)
        };
        let names: Vec<_> = connection_managers(&document.root).filter_map(name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
