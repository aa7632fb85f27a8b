//! `/config_dump`: the configuration in force, section by section.

use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use underpass_core::admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse};

use super::AdminRegistry;

pub(super) fn add(registry: &Arc<AdminRegistry>) {
    let weak = Arc::downgrade(registry);
    let endpoint =
        AdminEndpoint::show("/config_dump", "dump current configs", move |request| match weak.upgrade() {
            Some(registry) => answer(registry.sections(), request),
            None => AdminResponse::error(503, "shutting down\n"),
        });
    registry.add_endpoint(endpoint.with_parameters(&[
        ("resource", "dump only this repeated field, such as static_listeners or dynamic_active_clusters"),
        ("name_regex", "dump only what has a name that matches"),
        ("mask", "keep only these fields, comma-separated paths"),
    ]));
}

fn answer(sections: Vec<Value>, request: &AdminRequest) -> AdminResponse {
    let name = match request.parameter("name_regex").map(|pattern| Regex::new(&format!("^(?:{pattern})$"))) {
        Some(Err(error)) => return AdminResponse::error(400, format!("name_regex: {error}\n")),
        Some(Ok(regex)) => Some(regex),
        None => None,
    };
    let mut configs = match request.parameter("resource") {
        Some(resource) => match pick(&sections, resource) {
            Some(entries) => entries,
            None => return AdminResponse::error(404, format!("{resource} not found in config dump\n")),
        },
        None => sections,
    };
    if let Some(name) = name {
        configs = configs.into_iter().filter_map(|config| filter(config, &name)).collect();
    }
    if let Some(mask) = request.parameter("mask") {
        let paths: Vec<Vec<&str>> = mask.split(',').map(|path| path.split('.').collect()).collect();
        configs.iter_mut().for_each(|config| keep(config, &paths));
    }
    AdminResponse::json(&json!({ "configs": configs }))
}

/// The elements of a repeated field, whichever section has it.
fn pick(sections: &[Value], field: &str) -> Option<Vec<Value>> {
    sections.iter().find_map(|section| section.get(field)?.as_array().cloned())
}

/// Keeps of a section the entries whose name matches; a section without entries has no name and is left out.
fn filter(mut config: Value, name: &Regex) -> Option<Value> {
    let matches = |entry: &Value| find_name(entry).is_some_and(|text| name.is_match(text));
    if matches(&config) {
        return Some(config);
    }
    let mut any = false;
    for field in config.as_object_mut()?.values_mut().filter_map(Value::as_array_mut) {
        field.retain(|entry| matches(entry));
        any |= !field.is_empty();
    }
    any.then_some(config)
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
            json!([{ "listener": { "name": "a" } }, { "listener": { "name": "b" } }])
        );
        assert_eq!(ask(&[("resource", "nope")]), json!("nope not found in config dump\n"));
    }

    #[test]
    fn a_name_selects_entries() {
        let named = ask(&[("name_regex", "b")]);
        let expected =
            json!([{ "@type": "Listeners", "static_listeners": [{ "listener": { "name": "b" } }] }]);
        assert_eq!(named["configs"], expected);
    }

    #[test]
    fn everything_is_dumped_without_parameters() {
        assert_eq!(ask(&[])["configs"].as_array().unwrap().len(), 2);
    }
}
