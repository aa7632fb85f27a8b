//! `envoy.filters.http.local_ratelimit`: refuses requests that come too fast.
