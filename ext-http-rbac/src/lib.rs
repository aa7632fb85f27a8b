//! `envoy.filters.http.rbac`: lets requests in by who asks for what.
