//! `envoy.filters.http.health_check`: answers health checks.
