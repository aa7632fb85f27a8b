//! Filter state that a configuration writes: what the `set_filter_state` filters of every kind have in common.
//!
//! A value is a format string, printed for the stream at hand and handed to the factory of the object
//! ([`ObjectFactory`]). <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/set_filter_state>

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, NonEmptyString, SubstitutionFormatString},
    filter_state::{Entry, LifeSpan, ObjectFactory, SharedWithUpstream, object_factory},
    formatter::{FormatContext, LogFormat, Operators},
};

/// `envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue`.
#[derive(Debug, Clone, Deserialize)]
pub struct FilterStateValue {
    /// The name under which the object is left. Unless `factory_key` is set, it names the factory as well.
    pub object_key: NonEmptyString,
    /// The factory that makes the object, where it is not called like the object: `envoy.string` for a plain text.
    #[serde(default)]
    pub factory_key: String,
    /// The text that the object is made from.
    pub format_string: SubstitutionFormatString,
    /// Deprecated and without effect, in Envoy too.
    #[serde(default)]
    pub read_only: bool,
    /// How far the object travels.
    #[serde(default)]
    pub shared_with_upstream: SharedWithUpstream,
    /// Leaves the object alone where the text is empty.
    #[serde(default)]
    pub skip_if_empty: bool,
}

impl FilterStateValue {
    /// Builds what leaves the object; `path` is where this value stands.
    ///
    /// # Errors
    /// If there is no such factory, or the format string is wrong.
    pub fn build(
        &self,
        life_span: LifeSpan,
        path: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<FilterStateSetter, BuildError> {
        let (field, name) = match self.factory_key.as_str() {
            "" => ("object_key", self.object_key.as_str()),
            name => ("factory_key", name),
        };
        let factory = object_factory(name).ok_or_else(|| {
            let mut known: Vec<_> =
                inventory::iter::<ObjectFactory>().map(|factory| factory.registration.name).collect();
            known.sort_unstable();
            // The first half is what Envoy says.
            let message = format!(
                "'{name}' does not have an object factory; set factory_key to one of {}",
                known.join(", ")
            );
            BuildError::at(path.field(field), message)
        })?;
        if self.read_only {
            context.warn(BuildError::at(path.field("read_only"), "deprecated: it has no effect"));
        }
        let operators = Operators::linked().map_err(|error| BuildError::new(error.to_string()))?;
        let format = LogFormat::from_config(&self.format_string, &operators)
            .map_err(|error| BuildError::at(path.field("format_string"), error.to_string()))?;
        Ok(FilterStateSetter {
            name: self.object_key.as_str().into(),
            factory,
            format,
            shared_with_upstream: self.shared_with_upstream,
            skip_if_empty: self.skip_if_empty,
            life_span,
        })
    }
}

/// Builds a list of values, which stands in `field`.
///
/// # Errors
/// As [`FilterStateValue::build`].
pub fn build_setters(
    values: &[FilterStateValue],
    life_span: LifeSpan,
    field: &str,
    context: &BuildContext<'_>,
) -> Result<Vec<FilterStateSetter>, BuildError> {
    let path = context.path().field(field);
    let values = values.iter().enumerate();
    values.map(|(index, value)| value.build(life_span, &path.index(index), context)).collect()
}

/// Leaves one object in the filter state of streams.
pub struct FilterStateSetter {
    name: Arc<str>,
    factory: &'static ObjectFactory,
    format: LogFormat,
    shared_with_upstream: SharedWithUpstream,
    skip_if_empty: bool,
    life_span: LifeSpan,
}

impl FilterStateSetter {
    /// Leaves the object in the filter state of this stream. Nothing happens if the text is of no use to the factory, or if
    /// another filter has put a read-only object there.
    pub fn apply(&self, context: &FormatContext<'_>) {
        let text = self.format.format(context);
        if text.is_empty() && self.skip_if_empty {
            return;
        }
        let name = &self.name;
        match (self.factory.create)(&text) {
            Ok(object) => {
                let entry = Entry {
                    object,
                    read_only: false,
                    life_span: self.life_span,
                    shared_with_upstream: self.shared_with_upstream,
                };
                let stored = context.info.filter_state.borrow_mut().set(Arc::clone(name), entry);
                if let Err(error) = stored {
                    tracing::debug!(target: "filter", "[C{}] {error}", context.info.connection_id);
                }
            }
            Err(error) => {
                tracing::debug!(
                    target: "filter",
                    "[C{}] no object '{name}' can be made: {error}", context.info.connection_id
                );
            }
        }
    }
}
