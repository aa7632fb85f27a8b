//! Chains of HTTP filters: `http_filters` of the connection manager, checked and built.

use std::{rc::Rc, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, NonEmptyString, OptionalTypedConfig, TypedConfig},
    connection::BoxFuture,
    extension::Category,
};

use super::{HttpFilter, HttpFilterConfig, HttpFilterContext};
use crate::{Body, Response, stream::HttpStream};

/// How many filters a chain may have: each has one bit in a stream's set of skipped ones.
const MAX_FILTERS: usize = u128::BITS as usize;

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter`.
#[derive(Debug, Clone, Deserialize)]
pub struct HttpFilterEntry {
    /// What the user calls the filter, and routes refer to it by.
    pub name: NonEmptyString,
    /// What it is.
    #[serde(default)]
    pub typed_config: Option<OptionalTypedConfig<dyn HttpFilterConfig>>,
    /// Whether the filter may be left out where its type is not implemented.
    #[serde(default)]
    pub is_optional: bool,
    /// Whether the filter is skipped unless a route has a configuration for it.
    #[serde(default)]
    pub disabled: bool,
}

/// A chain of HTTP filters, shared by all workers and streams.
#[derive(Default)]
pub struct FilterChain {
    links: Vec<Link>,
}

struct Link {
    name: Box<str>,
    disabled: bool,
    filter: Arc<dyn HttpFilter>,
}

impl FilterChain {
    /// Builds a chain, whose list stands at `path`. `kind` is what it is called in messages: `http`, or `http upgrade`.
    /// `stat_prefix` is that of [`HttpFilterContext`].
    ///
    /// # Errors
    /// What the filters say, and unless the last filter and no other is terminal. A chain without any filter is accepted,
    /// as in Envoy.
    pub fn build(
        entries: &[HttpFilterEntry],
        path: &ConfigPath,
        kind: &str,
        stat_prefix: &str,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        if entries.is_empty() {
            context.warn(BuildError::at(path.clone(), "a chain without filters answers no request"));
        }
        if entries.len() > MAX_FILTERS {
            let message = format!("there are {} filters; a chain can have {MAX_FILTERS}", entries.len());
            return Err(BuildError::at(path.clone(), message));
        }
        let mut links = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let path = path.index(at);
            let name = entry.name.as_str();
            let Some(config) = entry.config(&path, context)? else { continue };
            check_terminal(entry, config, kind, at + 1 == entries.len(), context)
                .map_err(|message| BuildError::at(path, message))?;
            let filter = context.build(config, |config, build| {
                config.build(&HttpFilterContext { build, name, stat_prefix })
            })?;
            links.push(Link { name: name.into(), disabled: entry.disabled, filter });
        }
        Ok(Self { links })
    }

    /// A chain of filters that are built already, with their names; for tests, and for chains that no configuration lists.
    pub fn of<N: Into<Box<str>>>(filters: impl IntoIterator<Item = (N, Arc<dyn HttpFilter>)>) -> Self {
        let link = |(name, filter): (N, _)| Link { name: name.into(), disabled: false, filter };
        Self { links: filters.into_iter().map(link).collect() }
    }

    /// The way through the chain for one request. `disabled` tells what the request's route says of the filter of that
    /// name ([`PerFilterConfigs::disabled`](super::PerFilterConfigs::disabled)), if it says anything. As in Envoy this is
    /// decided once, by the route that the request has before any filter has seen it.
    pub fn start(&self, disabled: impl Fn(&str) -> Option<bool>) -> Next<'_> {
        let mut skipped = 0;
        // The last one is terminal, and always there.
        for (at, link) in self.links.split_last().map_or(&[][..], |(_, rest)| rest).iter().enumerate() {
            if disabled(&link.name).unwrap_or(link.disabled) {
                skipped |= 1 << at;
            }
        }
        Next { rest: &self.links, skipped }
    }
}

impl HttpFilterEntry {
    /// The config; none of a filter that is left out.
    fn config(
        &self,
        path: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Option<&TypedConfig<dyn HttpFilterConfig>>, BuildError> {
        let Some(config) = &self.typed_config else {
            // The first half is what Envoy says.
            let message = format!(
                "Didn't find a registered implementation for '{}' with type URL: ''; typed_config is required",
                self.name
            );
            return Err(BuildError::at(path.clone(), message));
        };
        match config.required(&context.server.extensions) {
            Ok(config) => Ok(Some(config)),
            Err(unknown) if self.is_optional => {
                let message = format!("the optional filter '{}' is left out: {}", self.name, unknown.message);
                context.warn(BuildError { message, ..unknown });
                Ok(None)
            }
            Err(unknown) => Err(unknown),
        }
    }
}

/// The messages are Envoy's.
fn check_terminal(
    entry: &HttpFilterEntry,
    config: &TypedConfig<dyn HttpFilterConfig>,
    kind: &str,
    is_last: bool,
    context: &BuildContext<'_>,
) -> Result<(), String> {
    let (name, type_name) = (&entry.name, config.type_name());
    let extension = context.server.extensions.find(<dyn HttpFilterConfig>::NAME, type_name);
    let filter_type = extension.map_or(type_name, |extension| extension.name);
    match (config.is_terminal(), is_last) {
        (true, false) => Err(format!(
            "Error: terminal filter named {name} of type {filter_type} must be the last filter in a {kind} filter chain."
        )),
        (false, true) => Err(format!(
            "Error: non-terminal filter named {name} of type {filter_type} is the last filter in a {kind} filter chain."
        )),
        (true, true) if entry.disabled => Err(format!(
            "Error: the last (terminal) filter ({name}) in the chain cannot be disabled by default."
        )),
        _ => Ok(()),
    }
}

/// The rest of a chain of HTTP filters.
pub struct Next<'a> {
    rest: &'a [Link],
    /// One bit for each of the rest, the lowest for the first.
    skipped: u128,
}

impl<'a> Next<'a> {
    /// Hands the request to the rest of the chain. (A chain always ends in a terminal filter; it is checked at load.)
    pub fn run(mut self, stream: &'a Rc<HttpStream>, body: Body) -> BoxFuture<'a, Response> {
        match self.step() {
            Some(filter) => filter.serve(stream, body, self),
            None => Box::pin(std::future::ready(Response::new(Body::empty()))),
        }
    }

    /// Answers instead of the rest of the chain, whose filters see the answer ([`HttpFilter::local_reply`]).
    pub fn reply(mut self, stream: &HttpStream, mut response: Response) -> Response {
        // From the last filter to the first: the skipped ones are found by going forward.
        if let Some(filter) = self.step() {
            response = self.reply(stream, response);
            filter.local_reply(stream, &mut response);
        }
        response
    }

    /// The next filter that is not skipped.
    fn step(&mut self) -> Option<&'a dyn HttpFilter> {
        while let Some((link, rest)) = self.rest.split_first() {
            let skip = self.skipped & 1 == 1;
            self.rest = rest;
            self.skipped >>= 1;
            if !skip {
                return Some(&*link.filter);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
