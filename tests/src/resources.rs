//! What sources of configuration hand out: the names of its types, and small messages.

use serde_json::{Value, json};

use crate::{
    config::extension,
    http_config::{route, router},
};

/// The message name of a listener.
pub const LISTENER: &str = "envoy.config.listener.v3.Listener";
/// That of a cluster.
pub const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
/// That of a cluster's endpoints.
pub const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
/// That of routes.
pub const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

/// A cluster whose endpoints come from a source.
pub fn eds_cluster(name: &str, source: &Value) -> Value {
    json!({ "name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": { "eds_config": source } })
}

/// The endpoints of a cluster.
pub fn endpoints(cluster: &str, endpoint: &Value) -> Value {
    json!({ "cluster_name": cluster, "endpoints": [{ "lb_endpoints": [endpoint] }] })
}

/// A connection manager whose routes come from a source.
pub fn hcm_with_routes_from(route_config: &str, source: &Value) -> Value {
    let rds = json!({ "config_source": source, "route_config_name": route_config });
    extension(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({ "stat_prefix": "http", "rds": rds, "http_filters": [router()] }),
    )
}

/// Routes that send everything to a cluster.
pub fn routes_to(name: &str, cluster: &str) -> Value {
    json!({ "name": name, "virtual_hosts": [{ "name": "all", "domains": ["*"],
        "routes": [route("/", cluster)] }] })
}

/// Routes that answer themselves.
pub fn routes_saying(name: &str, text: &str) -> Value {
    let route = json!({ "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": text } } });
    json!({ "name": name, "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] })
}
