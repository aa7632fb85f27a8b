//! Headers that the levels of a route add to and remove from messages.

use std::{ops::Deref, sync::Arc};

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, HeaderValueOption},
};

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

/// The lists of one level, as they stand in its message.
pub(super) struct HeaderLists<'a, S> {
    pub(super) request_add: &'a [HeaderValueOption],
    pub(super) request_remove: &'a [S],
    pub(super) response_add: &'a [HeaderValueOption],
    pub(super) response_remove: &'a [S],
}

impl HeaderLevel {
    pub(super) fn build<S: Deref<Target = str>>(
        lists: &HeaderLists<'_, S>,
        path: &ConfigPath,
    ) -> Result<Self, BuildError> {
        let build = |add, add_field: &str, remove, remove_field: &str| {
            HeaderMutations::build(add, &path.field(add_field), remove, &path.field(remove_field))
                .map(Arc::new)
        };
        let request = build(
            lists.request_add,
            "request_headers_to_add",
            lists.request_remove,
            "request_headers_to_remove",
        )?;
        let response = build(
            lists.response_add,
            "response_headers_to_add",
            lists.response_remove,
            "response_headers_to_remove",
        )?;
        Ok(Self { request, response })
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
            levels.rev().for_each(&mut push)
        } else {
            levels.for_each(&mut push)
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
