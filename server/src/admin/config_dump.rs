//! `/config_dump`: the configuration in force, section by section.

use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use underpass_core::admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse};

use super::AdminRegistry;

/// The repeated fields of the sections, and the message that their elements are.
const REPEATED: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
];

pub(super) fn add(registry: &Arc<AdminRegistry>) {
    let weak = Arc::downgrade(registry);
    let endpoint =
        AdminEndpoint::show("/config_dump", "dump current configs", move |request| match weak.upgrade() {
            Some(registry) => answer(registry.sections(request.parameter("include_eds").is_some()), request),
            None => AdminResponse::error(503, "shutting down\n"),
        });
    registry.add_endpoint(endpoint.with_parameters(&[
        ("include_eds", "dump the endpoints of all clusters, too"),
        ("resource", "dump only this repeated field, such as static_listeners or dynamic_active_clusters"),
        ("name_regex", "dump only what has a name that matches"),
        ("mask", "keep only these fields, comma-separated paths"),
    ]));
}

/// The fields of the elements of repeated fields, which a mask may name whether or not they are set.
const ELEMENT_FIELDS: [&str; 14] = [
    "active_state",
    "client_status",
    "cluster",
    "draining_state",
    "endpoint_config",
    "error_state",
    "last_updated",
    "listener",
    "name",
    "route_config",
    "secret",
    "version_info",
    "warming_state",
    "@type",
];

fn answer(sections: Vec<Value>, request: &AdminRequest) -> AdminResponse {
    // A parameter without a value says nothing, as in Envoy.
    let given = |name| request.parameter(name).filter(|value| !value.is_empty());
    let name = match given("name_regex").map(|pattern| (pattern, Regex::new(&format!("^(?:{pattern})$")))) {
        Some((pattern, Err(error))) => {
            return AdminResponse::error(
                400,
                format!("Error while parsing name_regex from {pattern}: {error}"),
            );
        }
        Some((_, Ok(regex))) => Some(regex),
        None => None,
    };
    let resource = given("resource");
    let mut configs = match resource {
        Some(resource) => match pick(&sections, resource) {
            Ok(entries) => entries,
            Err(answer) => return answer,
        },
        None => sections,
    };
    if let Some(name) = name {
        match resource {
            Some(_) => configs.retain(|entry| has_name(entry, &name)),
            None => configs.iter_mut().for_each(|section| filter(section, &name)),
        }
    }
    if let Some(mask) = given("mask") {
        let paths: Vec<Vec<&str>> = mask.split(',').map(|path| path.split('.').collect()).collect();
        let applies = |config: &Value| paths.iter().any(|path| has_path(config, path));
        if resource.is_none() {
            configs.retain(applies);
            if configs.is_empty() {
                let message = format!("FieldMask {mask} could not be successfully applied to any configs.");
                return AdminResponse::error(400, message);
            }
        } else if !configs.is_empty() && !configs.iter().any(applies) {
            // An element without the field stays; one that no element could have is a mistake.
            if !paths.iter().all(|path| path.len() == 1 && ELEMENT_FIELDS.contains(&path[0])) {
                let message = format!("FieldMask {mask} could not be successfully used.");
                return AdminResponse::error(400, message);
            }
        }
        configs.iter_mut().for_each(|config| keep(config, &paths));
    }
    // As protobuf prints a message whose only field is empty.
    AdminResponse::json(&if configs.is_empty() { json!({}) } else { json!({ "configs": configs }) })
}

/// Whether a path leads to something, in any element where there is a list on the way.
fn has_path(value: &Value, path: &[&str]) -> bool {
    let Some((field, rest)) = path.split_first() else { return true };
    match value {
        Value::Array(elements) => elements.iter().any(|element| has_path(element, path)),
        other => other.get(field).is_some_and(|inner| has_path(inner, rest)),
    }
}

/// The elements of a repeated field, whichever section has it, each with its `@type`.
fn pick(sections: &[Value], field: &str) -> Result<Vec<Value>, AdminResponse> {
    // Endpoints have a section only if they are asked for (`include_eds`).
    let is_there = |message: &str| {
        let section = message.split_once('.').map_or(message, |(section, _)| section);
        section != "EndpointsConfigDump" || sections.iter().any(|it| is_section(it, section))
    };
    if let Some((_, message)) = REPEATED.iter().find(|(name, message)| *name == field && is_there(message)) {
        let elements = sections.iter().find_map(|section| section.get(field)?.as_array().cloned());
        let mut elements = elements.unwrap_or_default();
        let type_url = json!(format!("type.googleapis.com/envoy.admin.v3.{message}"));
        for entry in elements.iter_mut().filter_map(Value::as_object_mut) {
            entry.insert("@type".to_owned(), type_url.clone());
        }
        return Ok(elements);
    }
    Err(if sections.iter().any(|section| section.get(field).is_some()) {
        let message = format!("{field} is not a repeated field. Use ?mask={field} to get only this field");
        AdminResponse::error(400, message)
    } else {
        AdminResponse::error(404, format!("{field} not found in config dump"))
    })
}

fn is_section(section: &Value, message: &str) -> bool {
    section.get("@type").and_then(Value::as_str).is_some_and(|url| url.ends_with(message))
}

/// Keeps of a section the entries whose name matches; what is no entry has no name and stays.
fn filter(section: &mut Value, name: &Regex) {
    let Some(fields) = section.as_object_mut() else { return };
    for entries in fields.values_mut().filter_map(Value::as_array_mut) {
        entries.retain(|entry| has_name(entry, name));
    }
    fields.retain(|_, value| value.as_array().is_none_or(|entries| !entries.is_empty()));
}

fn has_name(entry: &Value, name: &Regex) -> bool {
    find_name(entry).is_some_and(|text| name.is_match(text))
}

/// The name of an entry: its own, or that of the resource inside (`{"listener": {"name": …}}`).
fn find_name(entry: &Value) -> Option<&str> {
    let object = entry.as_object()?;
    object.get("name").or_else(|| object.values().find_map(|inner| inner.get("name")))?.as_str()
}

/// Drops what no path of the mask names; `@type` stays.
fn keep(value: &mut Value, paths: &[Vec<&str>]) {
    if let Some(elements) = value.as_array_mut() {
        return elements.iter_mut().for_each(|element| keep(element, paths));
    }
    let Some(fields) = value.as_object_mut() else { return };
    fields.retain(|field, inner| {
        let below: Vec<_> =
            paths.iter().filter(|path| path[0] == field).map(|path| path[1..].to_vec()).collect();
        let whole = below.iter().any(Vec::is_empty);
        if !whole && !below.is_empty() {
            keep(inner, &below);
        }
        field == "@type" || !below.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: &str = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener";

    fn ask(query: &[(&str, &str)]) -> Value {
        let sections = vec![
            json!({ "@type": "Bootstrap", "bootstrap": { "node": { "id": "n" } } }),
            json!({ "@type": "Listeners", "static_listeners": [
                { "listener": { "name": "a", "address": 1 }, "last_updated": "t" },
                { "listener": { "name": "b" } },
            ] }),
        ];
        let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let answer = answer(sections, &AdminRequest { query, ..AdminRequest::default() });
        serde_json::from_str(&answer.body).unwrap_or_else(|_| json!(answer.body))
    }

    #[test]
    fn a_resource_is_picked_out_of_its_section() {
        let picked = ask(&[("resource", "static_listeners"), ("mask", "listener.name")]);
        assert_eq!(
            picked["configs"],
            json!([
                { "@type": LISTENER, "listener": { "name": "a" } },
                { "@type": LISTENER, "listener": { "name": "b" } },
            ])
        );
        assert_eq!(ask(&[("resource", "dynamic_listeners")]), json!({}));
        assert_eq!(ask(&[("resource", "nope")]), json!("nope not found in config dump"));
        let single = "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field";
        assert_eq!(ask(&[("resource", "bootstrap")]), json!(single));
    }

    #[test]
    fn a_mask_selects_fields_of_the_sections_that_have_them() {
        let masked = ask(&[("mask", "bootstrap.node.id")]);
        assert_eq!(
            masked["configs"],
            json!([{ "@type": "Bootstrap", "bootstrap": { "node": { "id": "n" } } }])
        );
        let nothing = "FieldMask nope could not be successfully applied to any configs.";
        assert_eq!(ask(&[("mask", "nope")]), json!(nothing));
    }

    #[test]
    fn a_mask_that_leads_nowhere_is_refused_and_one_that_is_not_set_everywhere_keeps_all() {
        let resource = ("resource", "static_listeners");
        let nothing = "FieldMask nope could not be successfully used.";
        assert_eq!(ask(&[resource, ("mask", "nope")]), json!(nothing));
        let masked = ask(&[resource, ("mask", "listener.address")]);
        let entries = json!([
            { "@type": LISTENER, "listener": { "address": 1 } },
            { "@type": LISTENER, "listener": {} },
        ]);
        assert_eq!(masked["configs"], entries);
        let masked = ask(&[resource, ("mask", "error_state")]);
        assert_eq!(masked["configs"], json!([{ "@type": LISTENER }, { "@type": LISTENER }]));
        let nothing = "FieldMask static_listeners.nope could not be successfully applied to any configs.";
        assert_eq!(ask(&[("mask", "static_listeners.nope")]), json!(nothing));
    }

    #[test]
    fn parameters_without_a_value_say_nothing() {
        let empty = ask(&[("resource", ""), ("mask", ""), ("name_regex", "")]);
        assert_eq!(empty, ask(&[]));
        assert_eq!(
            ask(&[("resource", "static_endpoint_configs")]),
            json!("static_endpoint_configs not found in config dump")
        );
        let said = ask(&[("name_regex", "(")]);
        assert!(
            said.as_str().is_some_and(|said| said.starts_with("Error while parsing name_regex from (: "))
        );
    }

    #[test]
    fn a_name_selects_entries() {
        let named = ask(&[("name_regex", "b")]);
        let expected = json!({ "@type": "Listeners", "static_listeners": [{ "listener": { "name": "b" } }] });
        assert_eq!(named["configs"][1], expected);
        assert_eq!(named["configs"][0]["bootstrap"]["node"]["id"], "n", "what is no list stays");
        assert_eq!(ask(&[("resource", "static_listeners"), ("name_regex", "c")]), json!({}));
    }

    #[test]
    fn everything_is_dumped_without_parameters() {
        assert_eq!(ask(&[])["configs"].as_array().unwrap().len(), 2);
    }
}
