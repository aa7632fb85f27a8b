//! The configuration (`envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto`).

mod client_certificate;
mod defaults;
mod validate;

use std::time::Duration;

use serde::Deserialize;
use underpass_core::{
    access_log::AccessLog,
    config::{CidrRange, ConfigSource, NonEmptyString},
};
use underpass_http::{
    filter::HttpFilterEntry,
    local_reply::LocalReplyConfig,
    protocol_options::{CommonHttpProtocolOptions, Http1ProtocolOptions, Http2ProtocolOptions},
    request_id::RequestIdExtensionChoice,
    route::RouteConfiguration,
};

pub use self::client_certificate::{ForwardClientCertDetails, SetCurrentClientCertDetails};

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Debug, Deserialize)]
pub struct HttpConnectionManager {
    /// Which version of HTTP is served.
    #[serde(default)]
    pub codec_type: CodecType,
    /// The middle of the names of its stats, `http.<stat_prefix>.…`.
    pub stat_prefix: NonEmptyString,
    /// The routes.
    #[serde(default)]
    pub route_config: RouteConfiguration,
    /// Where the routes come from, if they do not stand here.
    #[serde(default)]
    pub rds: Option<Rds>,
    /// What requests pass through.
    #[serde(default)]
    pub http_filters: Vec<HttpFilterEntry>,
    /// Whether requests get a `user-agent` if they have none, and the name of this node's cluster.
    #[serde(default)]
    pub add_user_agent: Option<bool>,
    /// Options of all versions of HTTP.
    #[serde(default)]
    pub common_http_protocol_options: CommonHttpProtocolOptions,
    /// Options of HTTP/1.
    #[serde(default)]
    pub http_protocol_options: Http1ProtocolOptions,
    /// Options of HTTP/2.
    #[serde(default)]
    pub http2_protocol_options: Http2ProtocolOptions,
    /// What stands in the `server` header; `envoy` unless set.
    #[serde(default)]
    pub server_name: String,
    /// When answers get that header.
    #[serde(default)]
    pub server_header_transformation: ServerHeaderTransformation,
    /// What becomes of `:scheme`.
    #[serde(default)]
    pub scheme_header_transformation: SchemeHeaderTransformation,
    /// How many KiB the headers of a request may have; 60 unless set.
    #[serde(default)]
    pub max_request_headers_kb: Option<u32>,
    /// How long a stream may be silent: five minutes unless set, for ever if zero.
    #[serde(default)]
    pub stream_idle_timeout: Option<Duration>,
    /// How long a whole request may take to arrive; for ever unless set.
    #[serde(default)]
    pub request_timeout: Option<Duration>,
    /// How long the headers of a request may take to arrive; for ever unless set.
    #[serde(default)]
    pub request_headers_timeout: Option<Duration>,
    /// How long HTTP/2 waits between the two GOAWAY of a drain; five seconds unless set.
    #[serde(default)]
    pub drain_timeout: Option<Duration>,
    /// How long a connection that this side ends is kept for the peer to end it too; one second unless set.
    #[serde(default)]
    pub delayed_close_timeout: Option<Duration>,
    /// Where its requests are logged.
    #[serde(default)]
    pub access_log: Vec<AccessLog>,
    /// The old place of `access_log_options.access_log_flush_interval`.
    #[serde(default)]
    pub access_log_flush_interval: Option<Duration>,
    /// The old place of `access_log_options.flush_access_log_on_new_request`.
    #[serde(default)]
    pub flush_access_log_on_new_request: bool,
    /// When requests are logged, apart from their end.
    #[serde(default)]
    pub access_log_options: Option<HcmAccessLogOptions>,
    /// Whether the client is the peer of the connection, rather than what `x-forwarded-for` says.
    #[serde(default)]
    pub use_remote_address: Option<bool>,
    /// How many proxies in front of this one are trusted to have written `x-forwarded-for`.
    #[serde(default)]
    pub xff_num_trusted_hops: u32,
    /// Which addresses are inside.
    #[serde(default)]
    pub internal_address_config: InternalAddressConfig,
    /// Whether `x-forwarded-for` stays as it is.
    #[serde(default)]
    pub skip_xff_append: bool,
    /// This proxy's entry in the `via` headers of requests and answers; none if empty.
    #[serde(default)]
    pub via: String,
    /// Whether requests get an `x-request-id`; yes unless set.
    #[serde(default)]
    pub generate_request_id: Option<bool>,
    /// Whether a request from outside keeps the id that it came with.
    #[serde(default)]
    pub preserve_external_request_id: bool,
    /// Whether answers have the id of their request.
    #[serde(default)]
    pub always_set_request_id_in_response: bool,
    /// What becomes of `x-forwarded-client-cert`.
    #[serde(default)]
    pub forward_client_cert_details: ForwardClientCertDetails,
    /// What of the client's certificate is written into that header.
    #[serde(default)]
    pub set_current_client_cert_details: Option<SetCurrentClientCertDetails>,
    /// Whether `expect: 100-continue` goes to the upstream, instead of being answered here.
    #[serde(default)]
    pub proxy_100_continue: bool,
    /// Whether an IPv4 client is written as `::ffff:10.0.0.1` in `x-forwarded-for` and `x-envoy-external-address`.
    #[serde(default)]
    pub represent_ipv4_remote_address_as_ipv4_mapped_ipv6: bool,
    /// Which upgrades requests may ask for.
    #[serde(default)]
    pub upgrade_configs: Vec<UpgradeConfig>,
    /// Whether paths are normalised (RFC 3986, section 6).
    #[serde(default)]
    pub normalize_path: Option<bool>,
    /// Whether several slashes in a row become one.
    #[serde(default)]
    pub merge_slashes: bool,
    /// What is done about `%2F` and `%5C` in a path.
    #[serde(default)]
    pub path_with_escaped_slashes_action: PathWithEscapedSlashesAction,
    /// How request ids are made.
    #[serde(default)]
    pub request_id_extension: Option<RequestIdExtensionChoice>,
    /// What this proxy's own answers look like.
    #[serde(default)]
    pub local_reply_config: LocalReplyConfig,
    /// Whether a port in the authority is dropped that is the listener's.
    #[serde(default)]
    pub strip_matching_host_port: bool,
    /// Whether any port in the authority is dropped.
    #[serde(default)]
    pub strip_any_host_port: bool,
    /// Whether the dot at the end of a host's name is dropped.
    #[serde(default)]
    pub strip_trailing_host_dot: bool,
    /// Whether a message that is not valid ends its stream only, not the connection.
    #[serde(default)]
    pub stream_error_on_invalid_http_message: Option<bool>,
    /// Whether requests get an `x-forwarded-port`.
    #[serde(default)]
    pub append_x_forwarded_port: bool,
    /// Whether the connection's addresses are kept for an upstream PROXY header; yes unless set.
    #[serde(default)]
    pub add_proxy_protocol_connection_state: Option<bool>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.Rds`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Rds {
    /// The source.
    pub config_source: ConfigSource,
    /// The name of the route configuration.
    pub route_config_name: String,
}

/// `HttpConnectionManager.CodecType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CodecType {
    /// What the client speaks.
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3, for which there are no listeners.
    Http3,
}

/// `HttpConnectionManager.ServerHeaderTransformation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerHeaderTransformation {
    /// Every answer gets `server_name`.
    #[default]
    Overwrite,
    /// An answer without a `server` header does.
    AppendIfAbsent,
    /// The header stays as it is.
    PassThrough,
}

/// `HttpConnectionManager.PathWithEscapedSlashesAction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathWithEscapedSlashesAction {
    /// As the runtime key `http_connection_manager.path_with_escaped_slashes_action` says; otherwise they stay.
    #[default]
    ImplementationSpecificDefault,
    /// They stay.
    KeepUnchanged,
    /// The request is refused.
    RejectRequest,
    /// The client is sent to the path that has them unescaped.
    UnescapeAndRedirect,
    /// They are unescaped.
    UnescapeAndForward,
}

/// `envoy.config.core.v3.SchemeHeaderTransformation`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SchemeHeaderTransformation {
    /// `http` or `https`: what `:scheme` and `x-forwarded-proto` become.
    pub scheme_to_overwrite: Option<String>,
    /// Whether `:scheme` becomes what the upstream connection is.
    pub match_upstream: bool,
}

/// `HttpConnectionManager.HcmAccessLogOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HcmAccessLogOptions {
    /// Logs a request again and again while it lives (`DownstreamPeriodic`).
    pub access_log_flush_interval: Option<Duration>,
    /// Logs a request when it arrives (`DownstreamStart`).
    pub flush_access_log_on_new_request: bool,
    /// Logs a tunnel when it is established (`DownstreamTunnelSuccessfullyEstablished`).
    pub flush_log_on_tunnel_successfully_established: bool,
}

/// `HttpConnectionManager.InternalAddressConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct InternalAddressConfig {
    /// Whether Unix sockets are inside.
    pub unix_sockets: bool,
    /// Which IP addresses are inside.
    pub cidr_ranges: Vec<CidrRange>,
}

/// `HttpConnectionManager.UpgradeConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UpgradeConfig {
    /// `websocket`, `CONNECT`: what stands in the `Upgrade` header, or the method. Case does not count.
    pub upgrade_type: String,
    /// What such requests pass through, instead of `http_filters`.
    pub filters: Vec<HttpFilterEntry>,
    /// Whether routes allow it that say nothing of it; yes unless set.
    pub enabled: Option<bool>,
}

#[cfg(test)]
pub(crate) mod tests;
