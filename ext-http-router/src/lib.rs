//! `envoy.filters.http.router`: sends requests to the clusters that their routes name.
//!
//! A request goes through these steps, each in a module of its own:
//!
//! 1. `filter` asks for the route, and answers where there is none or where the route is the answer.
//! 2. `request` makes of the request what goes upstream: headers, timeouts (`timeouts`), what is to be kept of its body
//!    for another attempt (`request_body`).
//! 3. `exchange` makes attempts (`attempt`) until one succeeds, none is left (`retry_state`) or time is up (`clock`).
//! 4. `answer` makes of the upstream's answer what goes to the client, and watches its body to the end (`answer_body`);
//!    `failure` answers where the upstream did not.
//!
//! A CONNECT that ends here, and any other stream of raw bytes, is `connect`'s and `tunnel`'s. `upstream_log` writes the logs
//! of attempts.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter>

mod answer;
mod answer_body;
mod attempt;
mod clock;
mod config;
mod connect;
mod exchange;
mod failure;
mod filter;
mod request;
mod request_body;
mod retry_on;
mod retry_state;
mod stats;
mod strict_headers;
mod timeouts;
mod tunnel;
mod upstream_log;

pub use self::config::{Router, UpstreamAccessLogOptions};
