//! `envoy.filters.http.header_mutation`: adds, changes and removes headers.
