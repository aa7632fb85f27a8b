//! `tunneling_config`, as it is written.

use serde::Deserialize;
use underpass_core::config::{HeaderValueOption, NonEmptyString};
use underpass_http::request_id::RequestIdExtensionChoice;

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig`.
#[derive(Debug, Deserialize)]
pub struct TunnelingConfig {
    /// Where the proxy is to connect to, `host:port`; with command operators.
    pub hostname: NonEmptyString,
    /// Sends a POST instead of a CONNECT.
    #[serde(default)]
    pub use_post: bool,
    /// The path of a POST; `/` unless set.
    #[serde(default)]
    pub post_path: String,
    /// Headers of the request; with command operators.
    #[serde(default)]
    pub headers_to_add: Vec<HeaderValueOption>,
    /// Leaves the headers of the answer in the filter state, as `envoy.tcp_proxy.propagate_response_headers`.
    #[serde(default)]
    pub propagate_response_headers: bool,
    /// Leaves the trailers of the answer in the filter state, as `envoy.tcp_proxy.propagate_response_trailers`.
    #[serde(default)]
    pub propagate_response_trailers: bool,
    /// Gives each request an id, which is also left in the dynamic metadata.
    pub request_id_extension: Option<RequestIdExtensionChoice>,
    /// The header of that id; `x-request-id` unless set.
    #[serde(default)]
    pub request_id_header: String,
    /// The key of that id in the metadata of `envoy.filters.network.tcp_proxy`; `tunnel_request_id` unless set.
    #[serde(default)]
    pub request_id_metadata_key: String,
}
