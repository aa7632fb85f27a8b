//! `envoy.filters.network.http_connection_manager`: serves HTTP on connections.
//!
//! A connection is read by a codec of `underpass_http::downstream`, which reports to `connection`; each request becomes
//! an `exchange`, which checks it, finds its route, runs it through the chain of HTTP filters, and ends with an entry in
//! the access log. What is counted is in `stats`, what is answered without asking a filter in `reply`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/http_conn_man>

pub mod config;
mod connection;
mod exchange;
mod filter;
mod log;
mod prepare;
mod reply;
mod request_headers;
mod response_headers;
mod route_discovery;
mod routes;
mod settings;
mod stats;
mod timer;
mod upgrade;

pub use self::config::HttpConnectionManager;
