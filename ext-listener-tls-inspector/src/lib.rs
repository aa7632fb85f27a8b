//! `envoy.filters.listener.tls_inspector`: finds out whether a client speaks TLS, and which server it asks for.
//!
//! It reads the first message of a TLS client, the `ClientHello`, without taking it off the stream, and notes in the
//! connection's info what filter chains are matched by:
//!
//! | in the `ClientHello` | matched by |
//! |---|---|
//! | that it is one | `transport_protocol: tls` |
//! | the server name (SNI) | `server_names` |
//! | the protocols offered (ALPN) | `application_protocols` |
//!
//! What is no `ClientHello` goes on as it is, unless `close_connection_on_client_hello_parsing_errors` is set; why it is
//! none stands in the dynamic metadata `envoy.filters.listener.tls_inspector`, key `failure_reason`, and in
//! `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%` in Envoy's words.
//!
//! # Why there is no TLS library in it
//! rustls can read a `ClientHello` without a crypto provider (`server::Acceptor`), but as the server that will answer:
//! it refuses clients that offer no signature algorithms (TLS 1.1 and before), and sees no server name that is an IP address. A
//! proxy that only passes such clients on has to see what they ask for. Envoy's reading needs a part of the message only,
//! and that part is here; the tests compare it with rustls.
//!
//! Stats: `tls_inspector.*`, for all listeners together.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listener_filters/tls_inspector>

mod client_hello;
mod failure;
mod filter;
mod records;

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::Ranged,
    extension,
    listener_filter::{ListenerFilter, ListenerFilterConfig},
};

use filter::TlsInspectorFilter;

/// The longest `ClientHello` that is read, in bytes, where nothing is set: what fits in one TLS record.
const MAX_CLIENT_HELLO: u32 = 16 * 1024;

/// `envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TlsInspector {
    /// How many bytes are read at first; the amount doubles when that is not enough.
    pub initial_read_buffer_size: Option<Ranged<u32, 256, 65_536>>,
    /// Closes connections that do not begin with a `ClientHello`, instead of passing them on.
    pub close_connection_on_client_hello_parsing_errors: bool,
    /// The longest `ClientHello`, in bytes; a client that sends a longer one is turned away.
    pub max_client_hello_size: Option<Ranged<u32, 256, 16_384>>,
}

/// Finds out whether a client speaks TLS, and which server it asks for.
#[extension(
    name = "envoy.filters.listener.tls_inspector",
    type_url = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
)]
impl ListenerFilterConfig for TlsInspector {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError> {
        let most = self.max_client_hello_size.map_or(MAX_CLIENT_HELLO, Ranged::get);
        let first = self.initial_read_buffer_size.map_or(most, Ranged::get).min(most);
        let close_others = self.close_connection_on_client_hello_parsing_errors;
        let stats = &context.server.stats;
        Ok(Arc::new(TlsInspectorFilter::new(first as usize, most as usize, close_others, stats)))
    }
}

#[cfg(test)]
mod tests;
