//! `envoy.filters.http.header_mutation`: adds, changes and removes headers, trailers and query parameters.
//!
//! ```yaml
//! - name: envoy.filters.http.header_mutation
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
//!     mutations:
//!       request_mutations:
//!       - append: {header: {key: x-client, value: "%DOWNSTREAM_REMOTE_ADDRESS%"}, append_action: ADD_IF_ABSENT}
//!       - remove: x-secret
//!       response_mutations:
//!       - remove_on_match: {key_matcher: {prefix: x-internal-}}
//! ```
//!
//! The mutations of the chain go first, in their order. Then those of the route's levels: from the most specific to the
//! least specific one, or the other way round with `most_specific_header_mutations_wins`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_mutation_filter>

mod config;
mod headers;
mod query;
mod trailers;

use std::{any::Any, rc::Rc, sync::Arc};

use underpass_core::{build_context::BuildError, connection::BoxFuture, extension};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, Next, RouteFilterConfig},
};

pub use self::config::{HeaderMutation, HeaderMutationPerRoute};
use self::{
    headers::HeaderMutations,
    query::QueryMutations,
    trailers::{Trailers, with_trailers},
};

/// Adds, changes and removes headers.
#[extension(
    name = "envoy.filters.http.header_mutation",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
)]
impl HttpFilterConfig for HeaderMutation {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(HeaderMutationFilter {
            name: context.name.into(),
            mutations: Arc::new(Mutations::build(self.mutations.as_ref(), context)?),
            most_specific_wins: self.most_specific_header_mutations_wins,
        }))
    }
}

/// Adds, changes and removes headers of a route.
#[extension(
    name = "envoy.filters.http.header_mutation",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
)]
impl RouteFilterConfig for HeaderMutationPerRoute {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(Mutations::build(self.mutations.as_ref(), context)?))
    }
}

/// What one level changes.
#[derive(Default)]
struct Mutations {
    request: HeaderMutations,
    request_trailers: HeaderMutations,
    query: QueryMutations,
    response: HeaderMutations,
    response_trailers: HeaderMutations,
}

impl Mutations {
    fn build(
        config: Option<&config::Mutations>,
        context: &HttpFilterContext<'_>,
    ) -> Result<Self, BuildError> {
        let Some(config) = config else { return Ok(Self::default()) };
        let path = context.build.path().field("mutations");
        let headers = |mutations: &[config::Mutation], field: &str| {
            HeaderMutations::build(mutations, &path.field(field), context.build)
        };
        Ok(Self {
            request: headers(&config.request_mutations, "request_mutations")?,
            request_trailers: headers(&config.request_trailers_mutations, "request_trailers_mutations")?,
            query: QueryMutations::build(&config.query_parameter_mutations, &path)?,
            response: headers(&config.response_mutations, "response_mutations")?,
            response_trailers: headers(&config.response_trailers_mutations, "response_trailers_mutations")?,
        })
    }
}

struct HeaderMutationFilter {
    name: Box<str>,
    mutations: Arc<Mutations>,
    most_specific_wins: bool,
}

impl HeaderMutationFilter {
    /// Those of the route's levels, in the order in which they are applied.
    fn of_route(&self, stream: &HttpStream) -> Vec<Arc<Mutations>> {
        let mut levels = stream.route_configs::<Mutations>(&self.name);
        if !self.most_specific_wins {
            levels.reverse();
        }
        levels
    }

    /// All levels, the chain's first.
    fn levels<'m>(&'m self, of_route: &'m [Arc<Mutations>]) -> impl Iterator<Item = &'m Arc<Mutations>> {
        std::iter::once(&self.mutations).chain(of_route)
    }

    fn change_request(&self, of_route: &[Arc<Mutations>], stream: &Rc<HttpStream>, body: Body) -> Body {
        let mut head = stream.request_mut();
        for mutations in self.levels(of_route) {
            mutations.request.apply_to_request(&mut head, &stream.info);
            mutations.query.apply(&mut head, &stream.info);
        }
        drop(head);
        let trailers = self.levels(of_route).filter(|it| !it.request_trailers.is_empty()).cloned().collect();
        with_trailers(body, stream, Trailers::Request, trailers)
    }

    fn change_response(&self, of_route: &[Arc<Mutations>], stream: &HttpStream, response: &mut Response) {
        let (request, status) = (stream.request(), response.status());
        for mutations in self.levels(of_route) {
            mutations.response.apply_to_response(response.headers_mut(), status, &request, &stream.info);
        }
    }
}

impl HttpFilter for HeaderMutationFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let of_route = self.of_route(stream);
        let body = self.change_request(&of_route, stream, body);
        Box::pin(async move {
            let mut response = next.run(stream, body).await;
            self.change_response(&of_route, stream, &mut response);
            let trailers: Vec<_> =
                self.levels(&of_route).filter(|it| !it.response_trailers.is_empty()).cloned().collect();
            if trailers.is_empty() {
                return response;
            }
            response.map(|body| with_trailers(body, stream, Trailers::Response, trailers))
        })
    }

    fn local_reply(&self, stream: &HttpStream, response: &mut Response) {
        self.change_response(&self.of_route(stream), stream, response);
    }
}

#[cfg(test)]
mod tests;
