//! HTTP filters: the extension point between the connection manager and the upstream.

mod chain;
mod per_route;

use std::{any::Any, fmt, rc::Rc, sync::Arc};

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::TypedConfig,
    connection::BoxFuture,
    extension::{Category, typetag},
    stats::Scope,
};

pub use self::{
    chain::{FilterChain, HttpFilterEntry, Next},
    per_route::{FilterConfig, PerFilterConfigs, TypedPerFilterConfig},
};
use crate::{Body, Response, stream::HttpStream};

/// The configuration of an HTTP filter.
#[typetag::deserialize(tag = "@type")]
pub trait HttpFilterConfig: fmt::Debug + Send + Sync {
    /// Whether the filter ends the chain: it answers every request itself and never calls `next`.
    fn is_terminal(&self) -> bool {
        false
    }

    /// Builds the filter, once per version of the configuration.
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError>;
}

impl Category for dyn HttpFilterConfig {
    const NAME: &'static str = "HTTP filter";
}

/// What a filter's configuration says for one route or virtual host (`typed_per_filter_config`).
#[typetag::deserialize(tag = "@type")]
pub trait RouteFilterConfig: fmt::Debug + Send + Sync {
    /// Builds what the filter finds under its name with [`HttpStream::route_config`].
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError>;

    /// The message itself, if it is the wrapper that any filter's configuration may stand in. Not for filters.
    fn as_filter_config(&self) -> Option<&FilterConfig> {
        None
    }
}

impl Category for dyn RouteFilterConfig {
    const NAME: &'static str = "HTTP filter configuration of a route";
}

/// What an HTTP filter gets when it is built.
#[derive(Clone, Copy)]
pub struct HttpFilterContext<'a> {
    /// The place in the configuration, the process, the listener.
    pub build: &'a BuildContext<'a>,
    /// The name of the filter in the chain, by which routes refer to it.
    pub name: &'a str,
    /// What its stats begin with: `http.<stat_prefix>.`, its last dot included.
    pub stat_prefix: &'a str,
}

impl HttpFilterContext<'_> {
    /// The scope `http.<stat_prefix>.<name>` of the filter's stats.
    pub fn scope(&self, name: &str) -> Scope {
        self.build.server.stats.scope(&format!("{}{name}", self.stat_prefix))
    }

    /// Builds a nested typed config; errors of it carry its path.
    pub fn build<C: ?Sized + Category, T>(
        &self,
        config: &TypedConfig<C>,
        name: &str,
        build: impl FnOnce(&C, &HttpFilterContext<'_>) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        self.build.build(config, |config, nested| {
            build(config, &HttpFilterContext { build: nested, name, stat_prefix: self.stat_prefix })
        })
    }
}

/// An HTTP filter, shared by all workers and streams.
pub trait HttpFilter: Send + Sync {
    /// Serves one request: changes it ([`HttpStream::request_mut`]), passes it on with `next.run(stream, body)` and
    /// changes the answer, or answers itself with `next.reply(…)`.
    ///
    /// The future may be dropped at any await (the client is gone): what has to happen at the end belongs in a guard.
    fn serve<'a>(&'a self, stream: &'a Rc<HttpStream>, body: Body, next: Next<'a>)
    -> BoxFuture<'a, Response>;

    /// Sees an answer that a filter before this one gave itself. In Envoy such an answer travels through all filters, also
    /// those that never saw the request.
    fn local_reply(&self, _stream: &HttpStream, _response: &mut Response) {}
}
