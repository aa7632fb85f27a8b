//! HTTP filters: the extension point between the connection manager and the upstream.

use std::{any::Any, fmt, rc::Rc, sync::Arc};

use underpass_core::{
    build_context::{BuildContext, BuildError},
    connection::BoxFuture,
    extension::{Category, typetag},
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
}

impl Category for dyn RouteFilterConfig {
    const NAME: &'static str = "HTTP filter configuration of a route";
}

/// What an HTTP filter gets when it is built.
pub struct HttpFilterContext<'a> {
    /// The place in the configuration, the process, the listener.
    pub build: &'a BuildContext<'a>,
    /// The name of the filter in the chain, by which routes refer to it.
    pub name: &'a str,
    /// What its stats begin with: `http.<stat_prefix>.`, its last dot included.
    pub stat_prefix: &'a str,
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

/// The rest of a chain of HTTP filters.
pub struct Next<'a> {
    rest: &'a [Arc<dyn HttpFilter>],
}

impl<'a> Next<'a> {
    /// The start of a chain; for the connection manager and for tests of filters.
    pub fn new(chain: &'a [Arc<dyn HttpFilter>]) -> Self {
        Self { rest: chain }
    }

    /// Hands the request to the rest of the chain. (A chain always ends in a terminal filter; it is checked at load.)
    pub fn run(self, stream: &'a Rc<HttpStream>, body: Body) -> BoxFuture<'a, Response> {
        match self.rest.split_first() {
            Some((filter, rest)) => filter.serve(stream, body, Next { rest }),
            None => Box::pin(std::future::ready(Response::new(Body::empty()))),
        }
    }

    /// Answers instead of the rest of the chain, whose filters see the answer ([`HttpFilter::local_reply`]).
    pub fn reply(self, stream: &HttpStream, mut response: Response) -> Response {
        self.rest.iter().rev().for_each(|filter| filter.local_reply(stream, &mut response));
        response
    }
}
