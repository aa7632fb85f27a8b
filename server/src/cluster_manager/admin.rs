//! The clusters in the admin interface: `/clusters` and a section of `/config_dump`.

use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use underpass_core::admin::{AdminEndpoint, AdminRequest, AdminResponse};

use super::{ClusterManager, Managed};
use crate::admin::ENDPOINTS;

/// The Envoy name of a cluster's configuration.
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

impl ClusterManager {
    /// Adds `/clusters` and the section of `/config_dump` to the admin interface.
    pub fn add_to_admin(self: &Arc<Self>) {
        let manager = Arc::downgrade(self);
        let endpoint = AdminEndpoint::show("/clusters", "upstream cluster status", move |request| {
            manager.upgrade().map_or_else(ending, |manager| manager.show(request))
        });
        self.server.admin.add_endpoint(endpoint.with_parameters(&[
            ("format", "text (default) or json"),
            ("filter", "show only clusters whose name matches this regular expression"),
        ]));
        let manager = Arc::downgrade(self);
        let section = move || manager.upgrade().map_or(Value::Null, |manager| manager.config_dump());
        self.server.admin.add_config_dump("clusters", Box::new(section));
        let manager = Arc::downgrade(self);
        let section = move || manager.upgrade().map_or(Value::Null, |manager| manager.endpoints_dump());
        self.server.admin.add_config_dump(ENDPOINTS, Box::new(section));
    }

    fn show(&self, request: &AdminRequest) -> AdminResponse {
        let filter = match request.parameter("filter").map(Regex::new).transpose() {
            Ok(filter) => filter,
            Err(error) => return AdminResponse::error(400, format!("Invalid re2 regex: {error}\n")),
        };
        let mut statuses = self.statuses();
        statuses.retain(|status| filter.as_ref().is_none_or(|filter| filter.is_match(&status.name)));
        if request.parameter("format") == Some("json") {
            let statuses: Vec<_> = statuses.iter().map(super::ClusterStatus::to_json).collect();
            return AdminResponse::json(&json!({ "cluster_statuses": statuses }));
        }
        let mut text = String::new();
        statuses.iter().for_each(|status| status.write_text(&mut text));
        AdminResponse::text(text)
    }

    /// The message `envoy.admin.v3.ClustersConfigDump` as JSON.
    pub fn config_dump(&self) -> Value {
        let state = self.lock();
        let (dynamic, fixed): (Vec<_>, Vec<_>) =
            state.active.values().partition(|managed| managed.added_via_api);
        let mut dump = json!({ "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump" });
        if !state.version.is_empty() {
            dump["version_info"] = json!(state.version);
        }
        let lists = [
            ("static_clusters", fixed),
            ("dynamic_active_clusters", dynamic),
            ("dynamic_warming_clusters", state.warming.values().collect()),
        ];
        for (field, clusters) in lists.into_iter().filter(|(_, clusters)| !clusters.is_empty()) {
            dump[field] = clusters.into_iter().map(entry).collect();
        }
        dump
    }
}

impl ClusterManager {
    /// The message `envoy.admin.v3.EndpointsConfigDump` as JSON: the hosts of clusters in use, however they were found.
    fn endpoints_dump(&self) -> Value {
        let state = self.lock();
        let mut dump = json!({ "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump" });
        let lists = [("static_endpoint_configs", false), ("dynamic_endpoint_configs", true)];
        for (field, added_via_api) in lists {
            let clusters = state.active.values().filter(|managed| managed.added_via_api == added_via_api);
            let configs: Vec<_> = clusters
                .map(|managed| json!({ "endpoint_config": managed.cluster.membership.to_json(managed.cluster.assignment_name()) }))
                .collect();
            if !configs.is_empty() {
                dump[field] = configs.into();
            }
        }
        dump
    }
}

fn entry(managed: &Managed) -> Value {
    let mut cluster = managed.node.to_json();
    if let Some(fields) = cluster.as_object_mut() {
        fields.insert("@type".to_owned(), json!(CLUSTER));
    }
    let mut entry = json!({ "cluster": cluster, "last_updated": managed.last_updated });
    if !managed.version_info.is_empty() {
        entry["version_info"] = json!(managed.version_info);
    }
    entry
}

fn ending() -> AdminResponse {
    AdminResponse::error(503, "shutting down\n")
}
