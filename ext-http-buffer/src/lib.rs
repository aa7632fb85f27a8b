//! `envoy.filters.http.buffer`: waits for a request's whole body before passing it on.
