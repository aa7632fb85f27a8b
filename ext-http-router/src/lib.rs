//! `envoy.filters.http.router`: sends requests upstream.
