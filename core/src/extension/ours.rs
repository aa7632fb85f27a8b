//! Which of our crates provides which type, for the advice to link a crate that is missing.

/// Message names under `envoy.extensions.` with the package that provides them.
const OURS: &[(&str, &str)] = &[
    ("access_loggers.file.v3.FileAccessLog", "underpass-ext-access-logger-file"),
    ("access_loggers.stream.v3.StderrAccessLog", "underpass-ext-access-logger-stream"),
    ("access_loggers.stream.v3.StdoutAccessLog", "underpass-ext-access-logger-stream"),
    ("bootstrap.internal_listener.v3.InternalListener", "underpass-ext-bootstrap-internal-listener"),
    ("filters.http.buffer.v3.Buffer", "underpass-ext-http-buffer"),
    ("filters.http.buffer.v3.BufferPerRoute", "underpass-ext-http-buffer"),
    ("filters.http.cors.v3.Cors", "underpass-ext-http-cors"),
    ("filters.http.cors.v3.CorsPolicy", "underpass-ext-http-cors"),
    ("filters.http.fault.v3.HTTPFault", "underpass-ext-http-fault"),
    ("filters.http.header_mutation.v3.HeaderMutation", "underpass-ext-http-header-mutation"),
    ("filters.http.header_mutation.v3.HeaderMutationPerRoute", "underpass-ext-http-header-mutation"),
    ("filters.http.header_to_metadata.v3.Config", "underpass-ext-http-header-to-metadata"),
    ("filters.http.health_check.v3.HealthCheck", "underpass-ext-http-health-check"),
    ("filters.http.local_ratelimit.v3.LocalRateLimit", "underpass-ext-http-local-ratelimit"),
    ("filters.http.rbac.v3.RBAC", "underpass-ext-http-rbac"),
    ("filters.http.rbac.v3.RBACPerRoute", "underpass-ext-http-rbac"),
    ("filters.http.router.v3.Router", "underpass-ext-http-router"),
    ("filters.http.set_filter_state.v3.Config", "underpass-ext-http-set-filter-state"),
    ("filters.listener.http_inspector.v3.HttpInspector", "underpass-ext-listener-http-inspector"),
    ("filters.listener.original_dst.v3.OriginalDst", "underpass-ext-listener-original-dst"),
    ("filters.listener.proxy_protocol.v3.ProxyProtocol", "underpass-ext-listener-proxy-protocol"),
    ("filters.listener.tls_inspector.v3.TlsInspector", "underpass-ext-listener-tls-inspector"),
    ("filters.network.connection_limit.v3.ConnectionLimit", "underpass-ext-network-connection-limit"),
    ("filters.network.direct_response.v3.Config", "underpass-ext-network-direct-response"),
    ("filters.network.echo.v3.Echo", "underpass-ext-network-echo"),
    (
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "underpass-ext-http-connection-manager",
    ),
    ("filters.network.set_filter_state.v3.Config", "underpass-ext-network-set-filter-state"),
    ("filters.network.tcp_proxy.v3.TcpProxy", "underpass-ext-tcp-proxy"),
    ("request_id.uuid.v3.UuidRequestIdConfig", "underpass-http"),
    (
        "transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        "underpass-ext-transport-internal-upstream",
    ),
    (
        "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        "underpass-ext-transport-proxy-protocol",
    ),
    ("transport_sockets.raw_buffer.v3.RawBuffer", "underpass-ext-transport-raw-buffer"),
    ("upstreams.http.v3.HttpProtocolOptions", "underpass-http"),
];

/// The package of ours that provides the type.
pub(super) fn package(type_name: &str) -> Option<&'static str> {
    let short = type_name.strip_prefix("envoy.extensions.")?;
    OURS.iter().find(|(name, _)| *name == short).map(|(_, package)| *package)
}
