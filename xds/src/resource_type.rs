//! The types of resources that a control plane serves, and the gRPC methods that serve them.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-types>

/// What stands before the message name in the type URLs that the protocol uses.
const PREFIX: &str = "type.googleapis.com/";

/// Message, service and the stem of its methods, in the order in which they are subscribed to: clusters before their
/// endpoints, both before the listeners that use them, and those before their routes.
const TYPES: [(&str, &str, &str); 8] = [
    ("envoy.config.cluster.v3.Cluster", "envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    (
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "envoy.service.endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        "envoy.service.secret.v3.SecretDiscoveryService",
        "Secrets",
    ),
    ("envoy.config.listener.v3.Listener", "envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    (
        "envoy.config.route.v3.ScopedRouteConfiguration",
        "envoy.service.route.v3.ScopedRoutesDiscoveryService",
        "ScopedRoutes",
    ),
    ("envoy.config.route.v3.RouteConfiguration", "envoy.service.route.v3.RouteDiscoveryService", "Routes"),
    (
        "envoy.config.route.v3.VirtualHost",
        "envoy.service.route.v3.VirtualHostDiscoveryService",
        "VirtualHosts",
    ),
    ("envoy.service.runtime.v3.Runtime", "envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime"),
];

/// The two forms of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A response holds all resources of a type (or all that are named).
    StateOfTheWorld,
    /// A response holds what changed.
    Delta,
}

/// The path of the method that serves all types on one stream.
pub fn aggregated_method(protocol: Protocol) -> String {
    method("envoy.service.discovery.v3.AggregatedDiscoveryService", protocol, "AggregatedResources")
}

/// The path of the method that serves one type, if there is one.
pub fn method_of(message: &str, protocol: Protocol) -> Option<String> {
    let (_, service, stem) = TYPES.iter().find(|(known, ..)| *known == message)?;
    Some(method(service, protocol, stem))
}

fn method(service: &str, protocol: Protocol, stem: &str) -> String {
    let verb = match protocol {
        Protocol::StateOfTheWorld => "Stream",
        Protocol::Delta => "Delta",
    };
    format!("/{service}/{verb}{stem}")
}

/// The place of a type in the order of subscriptions; types that are not known come last.
pub fn rank(type_url: &str) -> usize {
    TYPES.iter().position(|(message, ..)| *message == message_name(type_url)).unwrap_or(TYPES.len())
}

/// The type URL of a message, as requests have it.
pub fn type_url(message: &str) -> String {
    format!("{PREFIX}{message}")
}

/// The message that a type URL names.
pub fn message_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// What stands in the place of a file's name where something is said about a resource: `Cluster/backend`.
pub fn source(type_url: &str, name: &str) -> String {
    let message = message_name(type_url);
    let short = message.rsplit_once('.').map_or(message, |(_, short)| short);
    format!("{short}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_as_in_envoys_services() {
        insta::assert_snapshot!(aggregated_method(Protocol::StateOfTheWorld), @"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources");
        let clusters = method_of("envoy.config.cluster.v3.Cluster", Protocol::Delta).unwrap();
        insta::assert_snapshot!(clusters, @"/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters");
        assert_eq!(method_of("envoy.config.core.v3.Address", Protocol::Delta), None);
    }

    #[test]
    fn clusters_come_before_endpoints_before_listeners_before_routes() {
        let ranks = [
            "envoy.config.cluster.v3.Cluster",
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            "envoy.config.listener.v3.Listener",
            "envoy.config.route.v3.RouteConfiguration",
            "example.Unknown",
        ]
        .map(|message| rank(&type_url(message)));
        assert!(ranks.is_sorted(), "{ranks:?}");
    }
}
