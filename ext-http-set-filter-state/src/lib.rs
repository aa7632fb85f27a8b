//! `envoy.filters.http.set_filter_state`: leaves named values on a request, for other filters, logs and the hops upstream
//! of it.
//!
//! ```yaml
//! - name: envoy.filters.http.set_filter_state
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
//!     on_request_headers:
//!     - object_key: tenant
//!       factory_key: envoy.string
//!       format_string: {text_format_source: {inline_string: "%REQ(x-tenant)%"}}
//!       shared_with_upstream: ONCE
//! ```
//!
//! What routes say is set after what the chain says, from the least specific level to the most specific one.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/set_filter_state>

use std::{any::Any, rc::Rc, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    access_log::AccessLogType,
    build_context::BuildError,
    connection::BoxFuture,
    extension,
    filter_state::LifeSpan,
    formatter::FormatContext,
    set_filter_state::{FilterStateSetter, FilterStateValue, build_setters},
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, Next, RouteFilterConfig},
    message_headers::MessageHeaders,
};

/// `envoy.extensions.filters.http.set_filter_state.v3.Config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SetFilterState {
    /// What is set when a request arrives, in this order.
    pub on_request_headers: Vec<FilterStateValue>,
    /// Whether a route is looked for anew afterwards.
    pub clear_route_cache: bool,
}

/// Leaves named values on a request.
#[extension(
    name = "envoy.filters.http.set_filter_state",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config"
)]
impl HttpFilterConfig for SetFilterState {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(SetFilterStateFilter { name: context.name.into(), settings: self.settings(context)? }))
    }
}

/// Leaves more named values on the requests of a route.
#[extension(
    name = "envoy.filters.http.set_filter_state",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config"
)]
impl RouteFilterConfig for SetFilterState {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(self.settings(context)?))
    }
}

impl SetFilterState {
    fn settings(&self, context: &HttpFilterContext<'_>) -> Result<Settings, BuildError> {
        let (values, field) = (&self.on_request_headers, "on_request_headers");
        let setters = build_setters(values, LifeSpan::FilterChain, field, context.build)?;
        Ok(Settings { setters, clear_route_cache: self.clear_route_cache })
    }
}

struct Settings {
    setters: Vec<FilterStateSetter>,
    clear_route_cache: bool,
}

impl Settings {
    fn apply(&self, stream: &HttpStream) {
        let request = stream.request();
        let headers = MessageHeaders::of_request(&request);
        let context = FormatContext {
            info: &stream.info,
            access_log_type: AccessLogType::NotSet,
            headers: Some(&headers),
        };
        self.setters.iter().for_each(|setter| setter.apply(&context));
    }
}

struct SetFilterStateFilter {
    name: Box<str>,
    settings: Settings,
}

impl HttpFilter for SetFilterStateFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        self.settings.apply(stream);
        stream.route_configs::<Settings>(&self.name).iter().for_each(|settings| settings.apply(stream));
        if self.settings.clear_route_cache {
            stream.clear_route_cache();
        }
        next.run(stream, body)
    }
}

#[cfg(test)]
mod tests;
