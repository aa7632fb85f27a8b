//! The section of `/config_dump` about listeners (`envoy.admin.v3.ListenersConfigDump`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use serde_json::{Map, Value, json};
use underpass_core::config::Node;

use super::{ListenerManager, Source, snapshot::Placement, state::State};
use crate::listener::Listener;

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// Lets `/config_dump` ask the manager.
pub(super) fn add(manager: &Arc<ListenerManager>) {
    let weak: Weak<ListenerManager> = Arc::downgrade(manager);
    let section =
        move || weak.upgrade().map_or_else(|| dump(&State::default()), |manager| dump(&manager.lock()));
    manager.server.admin.add_config_dump("listeners", Box::new(section));
}

fn dump(state: &State) -> Value {
    let mut section = json!({ "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump" });
    if !state.version.is_empty() {
        section["version_info"] = json!(state.version);
    }
    let is_static = |placement: &&Arc<Placement>| placement.listener.origin.source == Source::Static;
    let fixed: Vec<_> =
        state.active.values().filter(is_static).map(|placement| version(&placement.listener)).collect();
    if !fixed.is_empty() {
        section["static_listeners"] = fixed.into();
    }
    let dynamic = dynamic_listeners(state);
    if !dynamic.is_empty() {
        section["dynamic_listeners"] = dynamic.into();
    }
    section
}

fn dynamic_listeners(state: &State) -> Vec<Value> {
    let mut by_name: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut add = |name: &str, field: &str, value: Value| {
        let entry = by_name.entry(name.to_owned()).or_default();
        entry.insert("name".to_owned(), json!(name));
        entry.insert(field.to_owned(), value);
    };
    for placement in state.active.values().filter(|each| each.listener.origin.source != Source::Static) {
        add(&placement.listener.base.name, "active_state", version(&placement.listener));
    }
    for warming in state.warming.values() {
        let listener = warming.prepared.listener();
        add(&listener.base.name, "warming_state", version(listener));
    }
    for placement in state.draining.iter().filter(|each| each.listener.origin.source != Source::Static) {
        add(&placement.listener.base.name, "draining_state", version(&placement.listener));
    }
    for (name, failed) in &state.failed {
        let error = json!({
            "failed_configuration": listener(&failed.node),
            "last_update_attempt": failed.at,
            "details": failed.details,
        });
        add(name, "error_state", error);
    }
    by_name.into_values().map(Value::Object).collect()
}

fn version(listening: &Listener) -> Value {
    let origin = &listening.origin;
    let mut version = json!({ "listener": listener(&origin.node), "last_updated": origin.last_updated });
    if let Source::Api { version_info } = &origin.source {
        version["version_info"] = json!(version_info);
    }
    version
}

/// The message as it was written, with its type.
fn listener(node: &Node) -> Value {
    let mut message = node.to_json();
    message["@type"] = json!(LISTENER);
    message
}
