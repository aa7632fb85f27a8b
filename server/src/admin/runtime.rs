//! `/runtime` and `/runtime_modify`: the runtime keys, layer by layer.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value as Json, json};
use underpass_core::{
    admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse},
    config::Value,
    runtime::{Layer, Runtime, RuntimeSnapshot},
};

use super::{AdminRegistry, AdminSources};

pub(super) fn add(registry: &Arc<AdminRegistry>, sources: &Arc<AdminSources>) {
    let runtime = Arc::clone(&sources.server.runtime);
    let show = move |_: &_| AdminResponse::json(&to_json(&runtime.snapshot()));
    registry.add_endpoint(AdminEndpoint::show("/runtime", "print runtime values", show));

    let runtime = Arc::clone(&sources.server.runtime);
    let help = "add or change runtime keys, as query parameters; an empty value removes what was set here";
    let change = move |request: &_| modify(&runtime, request);
    registry.add_endpoint(AdminEndpoint::change("/runtime_modify", help, change));
}

fn to_json(keys: &RuntimeSnapshot) -> Json {
    let layers: Vec<_> = keys.layers().iter().map(|layer| layer.name.as_str()).collect();
    let mut names: Vec<_> = keys.layers().iter().flat_map(|layer| layer.values.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let entry = |name: &String| {
        let value = |layer: &Layer| layer.values.get(name).map(text).unwrap_or_default();
        let layer_values: Vec<_> = keys.layers().iter().map(value).collect();
        let last = keys.get(name).map(text).unwrap_or_default();
        json!({ "layer_values": layer_values, "final_value": last })
    };
    let entries: serde_json::Map<_, _> = names.into_iter().map(|name| (name.clone(), entry(name))).collect();
    json!({ "entries": entries, "layers": layers })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_json(),
    }
}

/// Envoy refuses this without an admin layer, so that nobody changes a process whose configuration does not allow it.
fn modify(runtime: &Runtime, request: &AdminRequest) -> AdminResponse {
    let keys = runtime.snapshot();
    let Some(admin) = keys.layers().iter().find(|layer| layer.admin) else {
        return AdminResponse::error(503, "No admin layer specified");
    };
    if request.query.is_empty() {
        let usage = "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       or send the parameters as form values\nuse an empty value to remove a previously added override";
        return AdminResponse::error(400, usage);
    }
    let mut values: BTreeMap<_, _> = admin.values.clone();
    for (key, value) in &request.query {
        match value.as_str() {
            "" => drop(values.remove(key)),
            value => drop(values.insert(key.clone(), parse(value))),
        }
    }
    runtime.set_layer(Layer { values, ..admin.clone() });
    AdminResponse::text("OK\n")
}

fn parse(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        other => other.parse().map_or_else(|_| Value::String(other.to_owned()), Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &[(&str, &str)]) -> AdminRequest {
        let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        AdminRequest { query, ..AdminRequest::default() }
    }

    #[test]
    fn keys_change_only_where_there_is_an_admin_layer() {
        let base =
            Layer { name: "base".into(), admin: false, values: [("a".into(), Value::Number(1.0))].into() };
        let fixed = Runtime::new(vec![base.clone()], false);
        assert_eq!(modify(&fixed, &request(&[("a", "2")])).body, "No admin layer specified");

        let admin = Layer { name: "admin".into(), admin: true, values: BTreeMap::new() };
        let open = Runtime::new(vec![base, admin], false);
        assert_eq!(modify(&open, &request(&[("a", "2"), ("b", "true")])).body, "OK\n");
        assert_eq!((open.snapshot().integer("a", 0), open.snapshot().boolean("b", false)), (2, true));
        insta::assert_snapshot!(to_json(&open.snapshot()), @r#"{"entries":{"a":{"final_value":"2","layer_values":["1","2"]},"b":{"final_value":"true","layer_values":["","true"]}},"layers":["base","admin"]}"#);
        modify(&open, &request(&[("a", "")]));
        assert_eq!(open.snapshot().integer("a", 0), 1);
    }
}
