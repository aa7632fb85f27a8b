//! `envoy.filters.http.header_to_metadata`: makes dynamic metadata of headers.
