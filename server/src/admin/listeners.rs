//! `/listeners` and `/drain_listeners`.

use std::{fmt::Write as _, sync::Arc};

use serde_json::json;
use underpass_core::admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse};

use super::{AdminRegistry, AdminSources};
use crate::listener_manager::{ListenerManager, Which};

pub(super) fn add(registry: &Arc<AdminRegistry>, sources: &Arc<AdminSources>) {
    let listeners = Arc::clone(&sources.listeners);
    let endpoint =
        AdminEndpoint::show("/listeners", "print listener info", move |request| show(&listeners, request));
    registry.add_endpoint(endpoint.with_parameters(&[("format", "one of text, json")]));

    let listeners = Arc::clone(&sources.listeners);
    let endpoint = AdminEndpoint::change("/drain_listeners", "drain listeners", move |request| {
        drain(&listeners, request)
    });
    registry.add_endpoint(endpoint.with_parameters(&[
        ("graceful", "ask clients to leave, and stop after the drain time"),
        ("skip_exit", "do not stop the listeners; for use with graceful"),
        ("inboundonly", "only listeners whose traffic_direction is INBOUND"),
    ]));
}

fn show(listeners: &ListenerManager, request: &AdminRequest) -> AdminResponse {
    let statuses = listeners.statuses();
    if request.parameter("format") == Some("json") {
        let statuses: Vec<_> =
            statuses.iter().map(crate::listener_manager::ListenerStatus::to_json).collect();
        return AdminResponse::json(&json!({ "listener_statuses": statuses }));
    }
    let mut text = String::new();
    for status in statuses {
        for address in &status.addresses {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}::{address}", status.name);
        }
    }
    AdminResponse::text(text)
}

fn drain(listeners: &ListenerManager, request: &AdminRequest) -> AdminResponse {
    let which = if request.parameter("inboundonly").is_some() { Which::Inbound } else { Which::All };
    let skip_exit = request.parameter("skip_exit").is_some();
    let graceful = request.parameter("graceful").is_some();
    match (graceful, skip_exit) {
        // Envoy accepts this and does nothing: skip_exit keeps it from stopping, and it drains nothing without graceful.
        (false, true) => {}
        (true, _) => listeners.drain_gracefully(which, !skip_exit),
        (false, false) => listeners.stop_listeners(which),
    }
    AdminResponse::text("OK\n")
}
