//! `envoy.filters.listener.http_inspector`: finds out which version of HTTP a client speaks.
//!
//! It reads the first line of a connection without taking it off the stream, and notes what it is an instance of as the
//! connection's application protocol, which filter chains are matched by:
//!
//! | the stream begins with | `application_protocols` |
//! |---|---|
//! | the preface of HTTP/2 | `h2c` |
//! | a request line of HTTP/1.1 | `http/1.1` |
//! | a request line of any other version, or of none | `http/1.0` |
//!
//! What is no HTTP goes on as it is. A connection that is known to carry something else than plain bytes (TLS, when
//! `tls_inspector` stands before this filter) is not looked at.
//!
//! ```yaml
//! listener_filters:
//! - name: envoy.filters.listener.http_inspector
//!   typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}
//! ```
//!
//! Stats: `http_inspector.*`, for all listeners together.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listener_filters/http_inspector>

mod filter;
mod request_line;

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    extension,
    listener_filter::{ListenerFilter, ListenerFilterConfig},
};

use filter::HttpInspectorFilter;

/// `envoy.extensions.filters.listener.http_inspector.v3.HttpInspector`; it has no fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HttpInspector {}

/// Finds out which version of HTTP a client speaks.
#[extension(
    name = "envoy.filters.listener.http_inspector",
    type_url = "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
)]
impl ListenerFilterConfig for HttpInspector {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError> {
        Ok(Arc::new(HttpInspectorFilter::new(&context.server.stats)))
    }
}

#[cfg(test)]
mod tests;
