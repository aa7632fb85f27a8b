//! Routes: which cluster a request goes to, by its host, its path and its headers, and what is changed on the way.
//!
//! [`RouteConfiguration`] is the message; [`RouteTable`] is what is built from it, once, for all workers. A request finds its
//! [`Route`] with [`RouteTable::route`] (or, cached, with [`HttpStream::route`](crate::HttpStream::route)). A route is
//! effective: what virtual host, route and weighted cluster say is merged in it already.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/route_matching>

pub mod config;

mod build;
mod direct_response;
mod domains;
mod entry;
mod filter_configs;
mod format;
mod forward;
mod hash_policy;
mod headers;
mod matching;
mod redirect;
mod retry_policy;
mod rewrite;
mod table;
mod weighted;

pub use self::{
    config::RouteConfiguration,
    direct_response::DirectResponse,
    entry::{Action, Route, VirtualHost},
    filter_configs::FilterConfigs,
    forward::{ConnectConfig, Forward, MaxStreamDuration},
    hash_policy::HashPolicy,
    matching::{matches_filter_state, matches_header, matches_query, query_parameter},
    redirect::Redirect,
    retry_policy::{ResetHeader, RetryBackOff, RetryOn, RetryPolicy},
    table::RouteTable,
};

#[cfg(test)]
mod tests;
