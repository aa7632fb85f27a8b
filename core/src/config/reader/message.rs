//! Messages, field by field, whichever way the file writes the fields' names.

use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, value::StrDeserializer};

use super::{error::Error, node::NodeDeserializer, path::Path, unknown};
use crate::config::{Entry, Node, Severity, names};

/// The fields of a message, under the names that its Rust type gives them.
pub(super) struct FieldAccess<'r> {
    parent: NodeDeserializer<'r>,
    rest: std::vec::IntoIter<(&'static str, &'r Entry)>,
    value: Option<(&'static str, &'r Entry)>,
}

impl<'r> FieldAccess<'r> {
    /// Matches keys with fields and reports at once all that are unknown.
    pub(super) fn new(
        parent: NodeDeserializer<'r>,
        entries: &'r [Entry],
        fields: &'static [&'static str],
    ) -> Self {
        let mut matched: Vec<(&'static str, &'r Entry)> = Vec::new();
        for entry in entries {
            let Some(field) = fields.iter().copied().find(|field| names::same_field(&entry.key, field))
            else {
                // A typed config, and what comes out of an Any, say what they are.
                if &*entry.key != "@type" || !matches!(parent.path, Path::Base(..) | Path::Typed(..)) {
                    unknown::field(&parent, entry, fields);
                }
                continue;
            };
            if let Some((_, first)) = matched.iter().find(|(name, _)| *name == field) {
                let path = parent.path.to_config_path().field(field);
                parent.pass.push(
                    Severity::Error,
                    path,
                    entry.location(),
                    format!(
                        "`{}` is the same field as `{}` in line {}",
                        entry.key, first.key, first.mark.line
                    ),
                );
            } else if !entry.value.is_null() {
                matched.push((field, entry));
            }
        }
        Self { parent, rest: matched.into_iter(), value: None }
    }

    /// The fields that are set.
    pub(super) fn into_entries(self) -> Vec<(&'static str, &'r Entry)> {
        self.rest.collect()
    }

    /// Goes on to the next field that is not left out.
    #[inline(never)]
    fn next_field(&mut self) -> Option<&'static str> {
        let (parent, rest) = (&self.parent, &mut self.rest);
        let left_out =
            |field, entry: &Entry| parent.pass.leaves_out(&entry.value, Path::Field(&parent.path, field));
        self.value = rest.find(|(field, entry)| !left_out(field, entry));
        self.value.map(|(field, _)| field)
    }

    /// The value of a field, for those who do not go through serde.
    pub(super) fn get(&self, field: &str) -> Option<&'r Arc<Node>> {
        self.rest.as_slice().iter().find(|(name, _)| *name == field).map(|(_, entry)| &entry.value)
    }
}

impl<'de> MapAccess<'de> for FieldAccess<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next_field().map(|field| seed.deserialize(name(field))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (field, entry) =
            self.value.take().ok_or_else(|| Error::custom("a field's value was read before its name"))?;
        let path = Path::Field(&self.parent.path, field);
        self.parent.child(&entry.value, path, |value| seed.deserialize(value))
    }
}

/// A name as serde reads one.
pub(super) fn name(name: &str) -> StrDeserializer<'_, Error> {
    name.into_deserializer()
}
