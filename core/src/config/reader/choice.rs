//! Enums, and messages that are a choice between fields.

use serde::{
    Deserializer,
    de::{DeserializeSeed, EnumAccess, Error as _, VariantAccess, Visitor},
};

use super::{
    error::Error,
    message::{FieldAccess, name},
    node::NodeDeserializer,
    path::Path,
    unknown,
};
use crate::config::{Entry, NodeValue};

/// A value of an enum; or a message that is no more than a oneof, as a Rust enum with one variant for each member.
pub(super) struct ChoiceAccess<'r> {
    parent: NodeDeserializer<'r>,
    variant: &'static str,
    content: Option<&'r Entry>,
}

impl<'r> ChoiceAccess<'r> {
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
        let members = FieldAccess::new(*parent, entries, variants).into_entries();
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

impl<'de> EnumAccess<'de> for ChoiceAccess<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(name(self.variant))?, self))
    }
}

impl ChoiceAccess<'_> {
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

impl<'de> VariantAccess<'de> for ChoiceAccess<'_> {
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
