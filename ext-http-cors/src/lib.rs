//! `envoy.filters.http.cors`: tells browsers which origins may use a route.
