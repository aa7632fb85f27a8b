//! Endpoints about the process itself: readiness, identity, memory, stopping.

use std::sync::Arc;

use serde_json::{Value, json};
use underpass_core::admin::{Admin, AdminEndpoint, AdminResponse};

use super::{AdminRegistry, AdminSources};
use crate::{lifecycle::State, memory, version};

pub(super) fn add(registry: &Arc<AdminRegistry>, sources: &Arc<AdminSources>) {
    let from = |sources: &Arc<AdminSources>| Arc::clone(sources);

    let it = from(sources);
    let ready = move |_: &_| match it.lifecycle.state() {
        State::Live => AdminResponse::text("LIVE\n"),
        other => AdminResponse::error(503, format!("{}\n", other.name())),
    };
    let help = "print server state, return 200 if LIVE, otherwise return 503";
    registry.add_endpoint(AdminEndpoint::show("/ready", help, ready));

    let it = from(sources);
    let info = move |_: &_| AdminResponse::json(&server_info(&it));
    registry.add_endpoint(AdminEndpoint::show(
        "/server_info",
        "print server version/status information",
        info,
    ));

    let usage = |_: &_| AdminResponse::json(&memory::usage().to_json());
    registry.add_endpoint(AdminEndpoint::show("/memory", "print current allocation/heap usage", usage));

    // No transport socket that is linked holds certificates; Envoy without TLS answers the same.
    let certs = |_: &_| AdminResponse::json(&json!({ "certificates": [] }));
    registry.add_endpoint(AdminEndpoint::show("/certs", "print certs on machine", certs));

    let hot_restart = |_: &_| AdminResponse::text("disabled");
    let help = "print the hot restart compatibility version";
    registry.add_endpoint(AdminEndpoint::show("/hot_restart_version", help, hot_restart));

    let it = from(sources);
    let init = move |_: &_| AdminResponse::json(&init_dump(&it));
    let help = "dump what the start still waits for";
    registry.add_endpoint(AdminEndpoint::show("/init_dump", help, init));

    for (path, help, fail) in [
        ("/healthcheck/fail", "cause the server to fail health checks", true),
        ("/healthcheck/ok", "cause the server to pass health checks", false),
    ] {
        let it = from(sources);
        let handle = move |_: &_| {
            it.lifecycle.fail_health_checks(fail);
            AdminResponse::text("OK\n")
        };
        registry.add_endpoint(AdminEndpoint::change(path, help, handle));
    }

    let it = from(sources);
    let quit = move |_: &_| {
        it.lifecycle.stop();
        AdminResponse::text("OK\n")
    };
    registry.add_endpoint(AdminEndpoint::change("/quitquitquit", "exit the server", quit));

    let it = from(sources);
    let reopen = move |_: &_| {
        (it.reopen_logs)();
        AdminResponse::text("OK\n")
    };
    registry.add_endpoint(AdminEndpoint::change("/reopen_logs", "reopen access logs", reopen));
}

fn server_info(sources: &AdminSources) -> Value {
    let uptime = format!("{}s", sources.lifecycle.uptime().as_secs());
    json!({
        "version": version::full(),
        "state": sources.lifecycle.state().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "hot_restart_initializing": false,
        "command_line_options": sources.options.to_json(),
        "node": node(sources),
    })
}

fn node(sources: &AdminSources) -> Value {
    let (node, locality) = (&sources.server.node, &sources.node.locality);
    let extension = |extension: &underpass_core::extension::Registration| {
        json!({
            "name": extension.name,
            "category": extension.category,
            "type_descriptor": "",
            "disabled": false,
            "type_urls": extension.type_names,
        })
    };
    json!({
        "id": node.id,
        "cluster": node.cluster,
        "metadata": sources.node.metadata,
        "locality": { "region": locality.region, "zone": node.zone, "sub_zone": locality.sub_zone },
        "user_agent_name": "underpass",
        "user_agent_build_version": {
            "version": version::numbers(),
            "metadata": { "build.type": version::BUILD_TYPE },
        },
        "extensions": sources.server.extensions.list().iter().map(|it| extension(it)).collect::<Vec<_>>(),
    })
}

/// What is waited for, by who waits, as in Envoy.
fn init_dump(sources: &AdminSources) -> Value {
    let mut waiting = sources.clusters.waiting();
    waiting.extend(sources.server.init.waiting());
    let mut managers = vec![("Server".to_owned(), waiting)];
    let warming = sources.listeners.warming().into_iter();
    managers.extend(warming.map(|(name, waiting)| (format!("Listener-local-init-manager {name}"), waiting)));
    let dumps: Vec<_> = managers
        .into_iter()
        .filter(|(_, waiting)| !waiting.is_empty())
        .map(|(name, waiting)| {
            let targets: Vec<_> = waiting.iter().map(|target| format!("target {target}")).collect();
            json!({ "name": format!("init manager {name}"), "target_names": targets })
        })
        .collect();
    if dumps.is_empty() { json!({}) } else { json!({ "unready_targets_dumps": dumps }) }
}
