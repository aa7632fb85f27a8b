//! Builders for configurations with HTTP in them.

use serde_json::{Value, json};

use crate::config::{With, extension, file_log};

/// The line that most tests log: status, flags, details and what was asked for.
pub const ENDING: &str =
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:PATH)%";

/// A connection manager with these routes for every host, the HTTP filter `router`, and the log `<prefix>.log`.
pub fn hcm(prefix: &str, routes: impl IntoIterator<Item = Value>) -> Value {
    hcm_with_filters(prefix, [], routes)
}

/// The same with more HTTP filters in front of the router.
pub fn hcm_with_filters(
    prefix: &str,
    filters: impl IntoIterator<Item = Value>,
    routes: impl IntoIterator<Item = Value>,
) -> Value {
    let routes: Vec<Value> = routes.into_iter().collect();
    let filters: Vec<Value> = filters.into_iter().chain([router()]).collect();
    extension(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": prefix,
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
            "http_filters": filters,
            "access_log": [file_log(&format!("{prefix}.log"), ENDING)],
        }),
    )
}

/// The HTTP filter that forwards requests.
pub fn router() -> Value {
    extension("filters.http.router.v3.Router", json!({}))
}

/// A route by prefix of the path; its timeout is switched off.
pub fn route(prefix: &str, cluster: &str) -> Value {
    json!({ "match": { "prefix": prefix }, "route": { "cluster": cluster, "timeout": "0s" } })
}

/// A route for CONNECT that ends the tunnel and sends its bytes to a cluster.
pub fn connect_route(cluster: &str) -> Value {
    json!({
        "match": { "connect_matcher": {} },
        "route": {
            "cluster": cluster, "timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": {} }],
        },
    })
}

/// A route for POST that ends the tunnel and sends its bytes to a cluster.
pub fn post_route(cluster: &str) -> Value {
    json!({
        "match": { "prefix": "/", "headers": [{ "name": ":method", "string_match": { "exact": "POST" } }] },
        "route": {
            "cluster": cluster, "timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": { "allow_post": true } }],
        },
    })
}

/// What a connection manager needs to end tunnels, over HTTP/2 too.
pub fn accepts_connect() -> Value {
    json!({ "upgrade_configs": [{ "upgrade_type": "CONNECT" }], "http2_protocol_options": { "allow_connect": true } })
}

/// The field of a cluster that makes it speak HTTP/2.
pub fn speaks_http2() -> Value {
    protocol_options(
        json!({ "explicit_http_config": { "http2_protocol_options": { "allow_connect": true } } }),
    )
}

/// The field of a cluster that holds its HTTP options.
pub fn protocol_options(fields: Value) -> Value {
    const NAME: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = extension("upstreams.http.v3.HttpProtocolOptions", fields);
    json!({ "typed_extension_protocol_options": { NAME: options["typed_config"] } })
}

/// What makes a TCP proxy tunnel: the field `tunneling_config` for this hostname, with more fields.
pub fn tunneling(hostname: &str, fields: Value) -> Value {
    json!({ "tunneling_config": json!({ "hostname": hostname }).with(fields) })
}

/// An HTTP filter that sets filter state on each request; values are those of `config::filter_state`.
pub fn set_filter_state_on_request(values: impl IntoIterator<Item = Value>) -> Value {
    let values: Vec<_> = values.into_iter().collect();
    extension("filters.http.set_filter_state.v3.Config", json!({ "on_request_headers": values }))
}
