//! Headers that the levels of a route add to and remove from messages.

use std::sync::Arc;

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, HeaderValueOption},
};

use super::config;
use crate::header_mutation::HeaderMutations;

/// The header changes of all levels, in the order in which they are done.
#[derive(Debug, Clone, Default)]
pub(super) struct HeaderLevels {
    pub(super) request: Vec<Arc<HeaderMutations>>,
    pub(super) response: Vec<Arc<HeaderMutations>>,
}

/// The changes of one level.
#[derive(Debug, Clone)]
pub(super) struct HeaderLevel {
    request: Arc<HeaderMutations>,
    response: Arc<HeaderMutations>,
}

/// A message that has the four lists.
pub(super) trait HeaderLists {
    /// What is added to requests, what is removed from them, and the same for answers.
    fn lists(&self) -> [(&[HeaderValueOption], &[String]); 2];
}

macro_rules! header_lists {
    ($($message:ty),*) => {$(
        impl HeaderLists for $message {
            fn lists(&self) -> [(&[HeaderValueOption], &[String]); 2] {
                [
                    (&self.request_headers_to_add, &self.request_headers_to_remove),
                    (&self.response_headers_to_add, &self.response_headers_to_remove),
                ]
            }
        }
    )*};
}

header_lists!(config::RouteConfiguration, config::VirtualHost, config::Route, config::ClusterWeight);

impl HeaderLevel {
    pub(super) fn build(message: &impl HeaderLists, path: &ConfigPath) -> Result<Self, BuildError> {
        let build = |(add, remove): (&[HeaderValueOption], &[String]), add_at, remove_at| {
            HeaderMutations::build(add, &path.field(add_at), remove, &path.field(remove_at)).map(Arc::new)
        };
        let [request, response] = message.lists();
        Ok(Self {
            request: build(request, "request_headers_to_add", "request_headers_to_remove")?,
            response: build(response, "response_headers_to_add", "response_headers_to_remove")?,
        })
    }
}

impl HeaderLevels {
    /// The levels from the most specific one (the route) to the least specific one. Where several set one header, the last
    /// of them wins: the least specific one, unless `most_specific_wins`.
    pub(super) fn new<'a>(
        levels: impl DoubleEndedIterator<Item = &'a HeaderLevel>,
        most_specific_wins: bool,
    ) -> Self {
        let mut all = Self::default();
        let mut push = |level: &HeaderLevel| {
            all.request.extend(Some(&level.request).filter(|changes| !changes.is_empty()).cloned());
            all.response.extend(Some(&level.response).filter(|changes| !changes.is_empty()).cloned());
        };
        if most_specific_wins {
            levels.rev().for_each(&mut push);
        } else {
            levels.for_each(&mut push);
        }
        all
    }

    /// The same with those of a weighted cluster, which always go first.
    pub(super) fn after(&self, cluster: &HeaderLevel) -> Self {
        let first = |own: &Arc<HeaderMutations>, rest: &[Arc<HeaderMutations>]| {
            Some(own).filter(|changes| !changes.is_empty()).into_iter().chain(rest).cloned().collect()
        };
        Self {
            request: first(&cluster.request, &self.request),
            response: first(&cluster.response, &self.response),
        }
    }
}
