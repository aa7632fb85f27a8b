//! `envoy.filters.http.fault`: delays and aborts requests, to test how others take it.
