//! Fields of Envoy's that this proxy may ignore: they do not change what happens to traffic, and real configurations
//! often have them. The reader warns about each one that it meets.

/// Pairs of message and field, for `underpass_core::config::Reader::harmless`.
pub const FIELDS: &[(&str, &str)] = &[
    // Only a control plane sees these.
    ("envoy.config.bootstrap.v3.Bootstrap", "node_context_params"),
    ("envoy.config.core.v3.Node", "client_features"),
    ("envoy.config.core.v3.Node", "dynamic_parameters"),
    ("envoy.config.core.v3.Node", "extensions"),
    ("envoy.config.core.v3.Node", "listening_addresses"),
    ("envoy.config.core.v3.Node", "user_agent_build_version"),
    ("envoy.config.core.v3.Node", "user_agent_name"),
    ("envoy.config.core.v3.Node", "user_agent_version"),
    // The admin interface logs its requests at level debug (--component-log-level admin:debug), and its connections never
    // count towards the global limit.
    ("envoy.config.bootstrap.v3.Admin", "access_log"),
    ("envoy.config.bootstrap.v3.Admin", "access_log_path"),
    ("envoy.config.bootstrap.v3.Admin", "ignore_global_conn_limit"),
    // How Envoy watches, measures and tunes itself.
    ("envoy.config.bootstrap.v3.Admin", "profile_path"),
    ("envoy.config.bootstrap.v3.Bootstrap", "application_log_config"),
    ("envoy.config.bootstrap.v3.Bootstrap", "default_regex_engine"),
    ("envoy.config.bootstrap.v3.Bootstrap", "deferred_stat_options"),
    ("envoy.config.bootstrap.v3.Bootstrap", "enable_dispatcher_stats"),
    ("envoy.config.bootstrap.v3.Bootstrap", "enable_worker_cpu_affinity"),
    ("envoy.config.bootstrap.v3.Bootstrap", "fatal_actions"),
    ("envoy.config.bootstrap.v3.Bootstrap", "flags_path"),
    ("envoy.config.bootstrap.v3.Bootstrap", "grpc_async_client_manager_config"),
    ("envoy.config.bootstrap.v3.Bootstrap", "inline_headers"),
    ("envoy.config.bootstrap.v3.Bootstrap", "memory_allocator_manager"),
    ("envoy.config.bootstrap.v3.Bootstrap", "perf_tracing_file_path"),
    ("envoy.config.bootstrap.v3.Bootstrap", "stats_eviction_interval"),
    ("envoy.config.bootstrap.v3.Bootstrap", "stats_flush_on_admin"),
    ("envoy.config.bootstrap.v3.Bootstrap", "watchdog"),
    ("envoy.config.bootstrap.v3.Bootstrap", "watchdogs"),
    ("envoy.config.bootstrap.v3.ClusterManager", "enable_deferred_cluster_creation"),
    ("envoy.config.metrics.v3.HistogramBucketSettings", "bins"),
    ("envoy.type.matcher.v3.RegexMatcher.GoogleRE2", "max_program_size"),
    // Which of its parsers Envoy uses, and how it packs bytes.
    ("envoy.config.core.v3.Http1ProtocolOptions", "use_balsa_parser"),
    ("envoy.config.core.v3.Http2ProtocolOptions", "enable_huffman_encoding"),
    ("envoy.config.core.v3.Http2ProtocolOptions", "use_oghttp2_codec"),
    // What Envoy does when it runs out of something; the global connection limit is implemented.
    ("envoy.config.overload.v3.OverloadManager", "actions"),
    ("envoy.config.overload.v3.OverloadManager", "buffer_factory_config"),
    ("envoy.config.overload.v3.OverloadManager", "loadshed_points"),
    ("envoy.config.overload.v3.OverloadManager", "refresh_interval"),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "append_local_overload",
    ),
    // A limit on frames that this proxy does not speak.
    ("envoy.config.core.v3.Http2ProtocolOptions", "max_metadata_size"),
    // Connections are asked to leave when their listener changes or goes, and never by a failed health check.
    ("envoy.config.listener.v3.Listener", "drain_type"),
    // These tune what is not there: active health checks, outlier detection, merging of endpoint updates.
    ("envoy.config.bootstrap.v3.ClusterManager", "outlier_detection"),
    ("envoy.config.cluster.v3.Cluster", "ignore_health_on_host_removal"),
    ("envoy.config.cluster.v3.Cluster.CommonLbConfig", "ignore_new_hosts_until_first_hc"),
    ("envoy.config.cluster.v3.Cluster.CommonLbConfig", "update_merge_window"),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment.Policy", "endpoint_stale_after"),
    ("envoy.config.endpoint.v3.Endpoint", "health_check_config"),
];
