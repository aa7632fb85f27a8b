//! `envoy.filters.http.header_to_metadata`: makes dynamic metadata of headers and cookies, for routes, load balancing and
//! logs.
//!
//! ```yaml
//! - name: envoy.filters.http.header_to_metadata
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
//!     request_rules:
//!     - header: x-version
//!       on_header_present: {metadata_namespace: envoy.lb, key: version, type: STRING}
//!       on_header_missing: {metadata_namespace: envoy.lb, key: default, value: "true", type: STRING}
//!       remove: false
//! ```
//!
//! A route's rules stand in for those of the chain. With `stat_prefix`, it counts under
//! `http_filter_name.<stat_prefix>.`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_to_metadata_filter>

mod config;
mod rule;
mod stats;
mod value;

use std::{any::Any, collections::BTreeMap, rc::Rc, sync::Arc};

use underpass_core::{build_context::BuildError, config::Struct, connection::BoxFuture, extension};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, Next, RouteFilterConfig},
};

pub use self::config::HeaderToMetadata;
use self::{
    rule::{Message, Rule},
    stats::RuleStats,
};

/// Makes dynamic metadata of headers.
#[extension(
    name = "envoy.filters.http.header_to_metadata",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config"
)]
impl HttpFilterConfig for HeaderToMetadata {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(HeaderToMetadataFilter {
            name: context.name.into(),
            rules: Arc::new(Rules::build(self, context)?),
        }))
    }
}

/// Makes dynamic metadata of headers by the rules of a route.
#[extension(
    name = "envoy.filters.http.header_to_metadata",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config"
)]
impl RouteFilterConfig for HeaderToMetadata {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        if self.request_rules.is_empty() && self.response_rules.is_empty() {
            return Err(BuildError::new(
                "header_to_metadata_filter: Per filter configs must at least specify either request or response rules",
            ));
        }
        Ok(Arc::new(Rules::build(self, context)?))
    }
}

struct Rules {
    request: Direction,
    response: Direction,
}

/// The rules for one of the two messages.
struct Direction {
    rules: Vec<Rule>,
    stats: Option<RuleStats>,
}

impl Rules {
    fn build(config: &HeaderToMetadata, context: &HttpFilterContext<'_>) -> Result<Self, BuildError> {
        let direction = |rules: &[config::Rule], field: &str, stats: &str| {
            let path = context.build.path().field(field);
            let rules = rules.iter().enumerate();
            let rules = rules.map(|(index, rule)| Rule::build(rule, &path.index(index)));
            let stats = (!config.stat_prefix.is_empty()).then(|| {
                let scope = format!("http_filter_name.{}", config.stat_prefix);
                RuleStats::new(&context.build.server.stats.scope(&scope), stats)
            });
            Ok(Direction { rules: rules.collect::<Result<_, BuildError>>()?, stats })
        };
        Ok(Self {
            request: direction(&config.request_rules, "request_rules", "request")?,
            response: direction(&config.response_rules, "response_rules", "response")?,
        })
    }
}

impl Direction {
    fn apply(&self, message: &mut dyn Message, stream: &HttpStream) {
        if self.rules.is_empty() {
            return;
        }
        let mut found: BTreeMap<&Arc<str>, Struct> = BTreeMap::new();
        for rule in &self.rules {
            rule.apply(message, self.stats.as_ref(), &mut found);
        }
        let mut metadata = stream.info.dynamic_metadata.borrow_mut();
        for (namespace, values) in found {
            metadata.merge(Arc::clone(namespace), values);
        }
    }
}

struct HeaderToMetadataFilter {
    name: Box<str>,
    rules: Arc<Rules>,
}

impl HeaderToMetadataFilter {
    fn rules(&self, stream: &HttpStream) -> Arc<Rules> {
        stream.route_config(&self.name).unwrap_or_else(|| Arc::clone(&self.rules))
    }
}

impl HttpFilter for HeaderToMetadataFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let rules = self.rules(stream);
        rules.request.apply(&mut *stream.request_mut(), stream);
        if rules.response.rules.is_empty() {
            return next.run(stream, body);
        }
        Box::pin(async move {
            let mut response = next.run(stream, body).await;
            rules.response.apply(&mut response, stream);
            response
        })
    }

    fn local_reply(&self, stream: &HttpStream, response: &mut Response) {
        self.rules(stream).response.apply(response, stream);
    }
}

#[cfg(test)]
mod tests;
