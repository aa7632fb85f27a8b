//! How lists, maps, messages and enums are handed to serde, part by part.

use std::sync::Arc;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
        Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{error::Error, node::NodeDeserializer, path::Path, unknown};
use crate::config::{Entry, Node, NodeValue, names, scalar};

/// The elements of a list; broken ones are left out.
pub(super) struct ElementAccess<'r> {
    parent: NodeDeserializer<'r>,
    rest: std::iter::Enumerate<std::slice::Iter<'r, Arc<Node>>>,
}

impl<'r> ElementAccess<'r> {
    pub(super) fn new(parent: NodeDeserializer<'r>, elements: &'r [Arc<Node>]) -> Self {
        Self { parent, rest: elements.iter().enumerate() }
    }
}

impl<'de> SeqAccess<'de> for ElementAccess<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        for (index, node) in self.rest.by_ref() {
            let path = Path::Index(&self.parent.path, index);
            if self.parent.pass.leaves_out(node, path) {
                continue;
            }
            let element = self.parent.child(node, path, |element| seed.deserialize(element));
            return element.map(Some).or_else(|error| match error {
                // serde has no seed for the next element; what is around the list can go on.
                Error::Reported => {
                    self.parent.pass.cut_list();
                    Ok(None)
                }
                error @ Error::Message(_) => Err(error),
            });
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The entries of a map whose keys are data.
pub(super) struct EntryAccess<'r> {
    parent: NodeDeserializer<'r>,
    rest: std::slice::Iter<'r, Entry>,
    value: Option<&'r Entry>,
}

impl<'r> EntryAccess<'r> {
    pub(super) fn new(parent: NodeDeserializer<'r>, entries: &'r [Entry]) -> Self {
        Self { parent, rest: entries.iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for EntryAccess<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        for entry in self.rest.by_ref() {
            let path = Path::Key(&self.parent.path, &entry.key);
            if !self.parent.pass.leaves_out(&entry.value, path) {
                self.value = Some(entry);
                let read = |_: NodeDeserializer<'_>| seed.deserialize(KeyDeserializer(&entry.key));
                return self.parent.child(&entry.value, path, read).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let entry =
            self.value.take().ok_or_else(|| Error::custom("a map's value was read before its key"))?;
        let path = Path::Key(&self.parent.path, &entry.key);
        self.parent.child(&entry.value, path, |value| seed.deserialize(value))
    }
}

/// A key of a map: a text, a whole number or a boolean.
struct KeyDeserializer<'r>(&'r str);

macro_rules! deserialize_integer_keys {
    ($($method:ident)+) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match scalar::integer(self.0, true).map(|number| (i64::try_from(number), u64::try_from(number))) {
                Some((Ok(number), _)) => visitor.visit_i64(number),
                Some((_, Ok(number))) => visitor.visit_u64(number),
                _ => Err(Error::custom(format_args!("expected a whole number as key, not {:?}", self.0))),
            }
        }
    )+ };
}

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            key => Err(Error::custom(format_args!("expected true or false as key, not {key:?}"))),
        }
    }

    /// Only derived code for structs asks for identifiers, and it does so in a map only for `#[serde(flatten)]`.
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(
            "this message's Rust type uses #[serde(flatten)], which the config reader forbids because it loses the \
             place of errors",
        ))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    deserialize_integer_keys! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct enum
        ignored_any
    }
}

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
        entries: impl IntoIterator<Item = &'r Entry>,
        fields: &'static [&'static str],
    ) -> Self {
        let mut matched: Vec<(&'static str, &'r Entry)> = Vec::new();
        for entry in entries {
            let Some(field) = fields.iter().copied().find(|field| names::same_field(&entry.key, field))
            else {
                // What comes out of an Any still says what it is.
                if &*entry.key != "@type" || !matches!(parent.path, Path::Base(..)) {
                    unknown::field(&parent, entry, fields);
                }
                continue;
            };
            if let Some((_, first)) = matched.iter().find(|(name, _)| *name == field) {
                let path = parent.path.to_config_path().field(field);
                parent.pass.push(
                    crate::config::Severity::Error,
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

    /// The value of a field, for those who do not go through serde.
    pub(super) fn get(&self, field: &str) -> Option<&'r Arc<Node>> {
        self.rest.as_slice().iter().find(|(name, _)| *name == field).map(|(_, entry)| &entry.value)
    }
}

impl<'de> MapAccess<'de> for FieldAccess<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        for (field, entry) in self.rest.by_ref() {
            if !self.parent.pass.leaves_out(&entry.value, Path::Field(&self.parent.path, field)) {
                self.value = Some((field, entry));
                return seed.deserialize(name(field)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (field, entry) =
            self.value.take().ok_or_else(|| Error::custom("a field's value was read before its name"))?;
        let path = Path::Field(&self.parent.path, field);
        self.parent.child(&entry.value, path, |value| seed.deserialize(value))
    }
}

pub(super) fn name(name: &str) -> StrDeserializer<'_, Error> {
    name.into_deserializer()
}

/// A value of an enum; or a message that is no more than a oneof, as a Rust enum with one variant for each member.
pub(super) struct NameAccess<'r> {
    parent: NodeDeserializer<'r>,
    variant: &'static str,
    content: Option<&'r Entry>,
}

impl<'r> NameAccess<'r> {
    pub(super) fn new(
        parent: NodeDeserializer<'r>,
        variants: &'static [&'static str],
    ) -> Result<Self, Error> {
        let Some(&first) = variants.first() else { return Err(Error::custom("no value is possible here")) };
        // Protobuf's style guide: fields are in lower case, values of enums in upper case.
        let is_oneof = first.starts_with(|c: char| c.is_ascii_lowercase());
        let (variant, content) = match &parent.node.value {
            NodeValue::Map(entries) if is_oneof => Self::member(&parent, entries, variants)?,
            NodeValue::Scalar { text, .. } if !is_oneof => {
                (unknown::enum_value(&parent, text, variants).unwrap_or(first), None)
            }
            NodeValue::Null if !is_oneof => (first, None),
            _ => {
                let what = if is_oneof { "a map with one of" } else { "one of" };
                parent.expected(&format!("{what} {}", variants.join(", ")));
                (first, None)
            }
        };
        Ok(Self { parent, variant, content })
    }

    fn member(
        parent: &NodeDeserializer<'r>,
        entries: &'r [Entry],
        variants: &'static [&'static str],
    ) -> Result<(&'static str, Option<&'r Entry>), Error> {
        let members = FieldAccess::new(*parent, entries, variants).rest.collect::<Vec<_>>();
        match members[..] {
            [(variant, entry)] => Ok((variant, Some(entry))),
            [] => Err(Error::custom(format_args!("one of {} must be set", variants.join(", ")))),
            _ => Err(Error::custom(format_args!(
                "only one of {} can be set",
                members.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

impl<'de> EnumAccess<'de> for NameAccess<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(name(self.variant))?, self))
    }
}

impl NameAccess<'_> {
    fn with_content<T>(
        &self,
        read: impl FnOnce(NodeDeserializer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(entry) = self.content else {
            return Err(Error::custom(format_args!(
                "expected a map with one field, such as `{}`",
                self.variant
            )));
        };
        self.parent.child(&entry.value, Path::Field(&self.parent.path, self.variant), read)
    }
}

impl<'de> VariantAccess<'de> for NameAccess<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(_) => self.with_content(|content| content.deserialize_unit(serde::de::IgnoredAny).map(drop)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.with_content(|content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.with_content(|content| content.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.with_content(|content| content.deserialize_struct("", fields, visitor))
    }
}
