//! Lists of mutations, which are applied one after the other.

use http::{HeaderMap, HeaderName, StatusCode};
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::ConfigPath,
    formatter::FormatContext,
    matcher::StringMatcher,
    stream_info::StreamInfo,
};
use underpass_http::{RequestHead, header_mutation::HeaderMutations as Additions};

use crate::config;

/// A list of mutations.
#[derive(Default)]
pub(crate) struct HeaderMutations(Vec<Mutation>);

enum Mutation {
    Append(Additions),
    Remove(HeaderName),
    RemoveOnMatch(StringMatcher),
}

impl HeaderMutations {
    pub(crate) fn build(
        mutations: &[config::Mutation],
        path: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let mut list = Vec::with_capacity(mutations.len());
        for (index, mutation) in mutations.iter().enumerate() {
            let path = path.index(index);
            match mutation {
                config::Mutation::Append(option) => {
                    list.push(Mutation::Append(Additions::addition(option, &path.field("append"))?));
                }
                config::Mutation::RemoveOnMatch(on_match) => {
                    list.push(Mutation::RemoveOnMatch(on_match.key_matcher.clone()));
                }
                // Envoy takes them, and has no use for a request without.
                config::Mutation::Remove(name)
                    if name.starts_with(':') || name.eq_ignore_ascii_case("host") =>
                {
                    let message = format!("{name} is not removed: no request goes without");
                    context.warn(BuildError::at(path.field("remove"), message));
                }
                config::Mutation::Remove(name) => {
                    let name = HeaderName::try_from(name.as_str()).map_err(|_| {
                        let message = format!("{:?} is no name of a header", name.as_str());
                        BuildError::at(path.field("remove"), message)
                    })?;
                    list.push(Mutation::Remove(name));
                }
            }
        }
        Ok(Self(list))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn apply_to_request(&self, head: &mut RequestHead, info: &StreamInfo) {
        for mutation in &self.0 {
            match mutation {
                Mutation::Append(additions) => additions.apply_to_request(head, info),
                removal => removal.remove_from(&mut head.headers),
            }
        }
    }

    pub(crate) fn apply_to_response(
        &self,
        headers: &mut HeaderMap,
        status: StatusCode,
        request: &RequestHead,
        info: &StreamInfo,
    ) {
        for mutation in &self.0 {
            match mutation {
                Mutation::Append(additions) => additions.apply_to_response(headers, status, request, info),
                removal => removal.remove_from(headers),
            }
        }
    }

    /// For trailers, which operators do not see as they change.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        for mutation in &self.0 {
            match mutation {
                Mutation::Append(additions) => additions.apply(headers, context),
                removal => removal.remove_from(headers),
            }
        }
    }
}

impl Mutation {
    fn remove_from(&self, headers: &mut HeaderMap) {
        match self {
            Self::Append(_) => {}
            Self::Remove(name) => {
                headers.remove(name);
            }
            Self::RemoveOnMatch(matcher) => {
                let matching: Vec<HeaderName> =
                    headers.keys().filter(|name| matcher.matches(name.as_str())).cloned().collect();
                for name in matching {
                    headers.remove(name);
                }
            }
        }
    }
}
