//! The id of the request that opens a tunnel.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, Struct, Value},
    stream_info::StreamInfo,
};
use underpass_http::request_id::RequestIdExtension;

use super::TunnelingConfig;

/// The namespace of the metadata that this filter leaves.
const NAMESPACE: &str = "envoy.filters.network.tcp_proxy";

/// What gives each request an id.
pub(super) struct RequestId {
    extension: Arc<dyn RequestIdExtension>,
    header: HeaderName,
    metadata_key: Arc<str>,
}

impl RequestId {
    /// `at` is where the tunnel's configuration stands.
    pub(super) fn build(
        config: &TunnelingConfig,
        at: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Option<Self>, BuildError> {
        let choice = config.request_id_extension.as_ref().and_then(|choice| choice.typed_config.as_ref());
        let Some(choice) = choice else { return Ok(None) };
        let or = |text: &str, default: &str| if text.is_empty() { default.into() } else { text.to_owned() };
        let header = or(&config.request_id_header, "x-request-id");
        Ok(Some(Self {
            extension: context.build(choice, underpass_http::request_id::RequestIdExtensionConfig::build)?,
            header: HeaderName::try_from(&header).map_err(|_| {
                BuildError::at(
                    at.field("request_id_header"),
                    format!("{header:?} is not the name of a header"),
                )
            })?,
            metadata_key: or(&config.request_id_metadata_key, "tunnel_request_id").into(),
        }))
    }

    /// Gives a request an id, and leaves it in the metadata.
    pub(super) fn set(&self, headers: &mut HeaderMap, info: &StreamInfo) {
        let id = self.extension.generate();
        // An extension whose ids cannot stand in a header still has them in the metadata.
        if let Ok(value) = HeaderValue::try_from(&id) {
            headers.insert(self.header.clone(), value);
        }
        let mut values = Struct::default();
        values.insert(self.metadata_key.to_string(), Value::String(id));
        info.dynamic_metadata.borrow_mut().merge(NAMESPACE, values);
    }
}
