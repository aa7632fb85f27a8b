//! Request ids: what makes the `x-request-id` by which a request is found in the logs of all hops.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-request-id>

mod uuid;

use std::{fmt, sync::Arc};

use http::HeaderMap;
use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::TypedConfig,
    extension::{Category, typetag},
};

pub use self::uuid::{UuidRequestId, UuidRequestIdConfig};

/// The configuration of what makes request ids.
#[typetag::deserialize(tag = "@type")]
pub trait RequestIdExtensionConfig: fmt::Debug + Send + Sync {
    /// Builds it, once per version of the configuration.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn RequestIdExtension>, BuildError>;
}

impl Category for dyn RequestIdExtensionConfig {
    const NAME: &'static str = "request id extension";
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension`: which of them, where one can be chosen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RequestIdExtensionChoice {
    /// The extension.
    pub typed_config: Option<TypedConfig<dyn RequestIdExtensionConfig>>,
}

/// What makes request ids, shared by all workers.
pub trait RequestIdExtension: fmt::Debug + Send + Sync {
    /// Gives a request an id if it has none. At the edge it may be told to give it a new one in any case; whether it may keep
    /// the one that came with it is `keep_request_id`.
    fn set(&self, headers: &mut HeaderMap, edge_request: bool, keep_request_id: bool);

    /// The id of a request, for logs (`%STREAM_ID%`).
    fn get<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str>;

    /// Gives an answer the id of its request.
    fn set_in_response(&self, response: &mut HeaderMap, request: &HeaderMap);

    /// A new id that belongs to no request, for tunnels.
    fn generate(&self) -> String;
}
