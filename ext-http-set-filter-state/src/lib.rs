//! `envoy.filters.http.set_filter_state`: leaves named values on a request.
