//! `envoy.filters.network.set_filter_state`: leaves named values on a connection, for other filters, logs and the hops
//! upstream of it.
//!
//! ```yaml
//! - name: envoy.filters.network.set_filter_state
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config
//!     on_new_connection:
//!     - object_key: client
//!       factory_key: envoy.string
//!       format_string: {text_format_source: {inline_string: "%DOWNSTREAM_REMOTE_ADDRESS%"}}
//!       shared_with_upstream: TRANSITIVE
//! ```
//!
//! Values can be set when the connection arrives, when its TLS handshake is done, and when the client sends for the first
//! time. Handshakes come before network filters here, so the first two are the same moment.
//!
//! A value that is shared with upstream crosses internal listeners with the transport socket
//! `envoy.transport_sockets.internal_upstream`: `ONCE` the next one, `TRANSITIVE` all of them.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/set_filter_state>

mod first_data;

use std::{rc::Rc, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    access_log::AccessLogType,
    build_context::{BuildContext, BuildError},
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    filter_state::LifeSpan,
    formatter::FormatContext,
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
    set_filter_state::{FilterStateSetter, FilterStateValue, build_setters},
    stream_info::StreamInfo,
};

use self::first_data::OnFirstData;

/// `envoy.extensions.filters.network.set_filter_state.v3.Config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SetFilterState {
    /// What is set when a connection arrives, in this order.
    pub on_new_connection: Vec<FilterStateValue>,
    /// What is set then, after the TLS handshake if there is one.
    pub on_downstream_tls_handshake: Vec<FilterStateValue>,
    /// What is set when the client sends, or finishes, for the first time.
    pub on_downstream_data: Vec<FilterStateValue>,
}

/// Leaves named values on a connection.
#[extension(
    name = "envoy.filters.network.set_filter_state",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config"
)]
impl NetworkFilterConfig for SetFilterState {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        let build =
            |values: &[FilterStateValue], field| build_setters(values, LifeSpan::Connection, field, context);
        let mut at_once = build(&self.on_new_connection, "on_new_connection")?;
        at_once.extend(build(&self.on_downstream_tls_handshake, "on_downstream_tls_handshake")?);
        let on_data = build(&self.on_downstream_data, "on_downstream_data")?;
        Ok(Arc::new(SetFilterStateFilter { at_once, on_data: on_data.into() }))
    }
}

struct SetFilterStateFilter {
    at_once: Vec<FilterStateSetter>,
    on_data: Arc<[FilterStateSetter]>,
}

impl NetworkFilter for SetFilterStateFilter {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        apply(&self.at_once, &connection.info);
        if !self.on_data.is_empty() {
            let (setters, info) = (Arc::clone(&self.on_data), Rc::clone(&connection.info));
            let set = Box::new(move || apply(&setters, &info));
            connection.io = Box::new(OnFirstData::new(connection.io, set));
        }
        next.run(connection)
    }
}

fn apply(setters: &[FilterStateSetter], info: &StreamInfo) {
    let context = FormatContext::new(info, AccessLogType::NotSet);
    setters.iter().for_each(|setter| setter.apply(&context));
}

#[cfg(test)]
mod tests;
