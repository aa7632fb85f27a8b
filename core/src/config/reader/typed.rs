//! The way from an `@type` to a typed config: the only place where one becomes the other.

use std::sync::Arc;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{
    error::Error,
    handoff::{self, Handoff},
    message::{FieldAccess, name},
    node::NodeDeserializer,
    path::Path,
};
use crate::{
    config::{Entry, Location, Node, NodeValue, known, typed::type_name},
    extension::{Fields, Registration},
};

/// Messages that carry another typed config as a type URL and a `Struct`, for types whose descriptor a control plane
/// lacks.
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

impl NodeDeserializer<'_> {
    /// Resolves the typed config here among the extensions of `category` and reads it.
    pub(super) fn typed<'de, V: Visitor<'de>>(
        &self,
        category: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (url, location) = self.type_url("@type")?;
        if !TYPED_STRUCTS.contains(&type_name(url)) {
            return self.resolved(category, (url, location), visitor);
        }
        let wrapper = NodeDeserializer { path: Path::Typed(&self.path, type_name(url)), ..*self };
        let fields = FieldAccess::new(wrapper, without_type(self.entries()), &["type_url", "value"]);
        let inner_url = if self.node.get("typeUrl").is_some() { "typeUrl" } else { "type_url" };
        let empty = Arc::new(Node { value: NodeValue::Map(Vec::new()), ..Node::clone(self.node) });
        let node = fields.get("value").unwrap_or(&empty);
        let inner_url = self.type_url(inner_url)?;
        self.child(node, Path::Field(&self.path, "value"), |inner| {
            inner.resolved(category, inner_url, visitor)
        })
    }

    /// The same, but one of a type that no extension of the category has is handed over unread; so is an empty message.
    pub(super) fn optional_typed<'de, V: Visitor<'de>>(
        &self,
        category: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if matches!(&self.node.value, NodeValue::Map(entries) if entries.is_empty()) {
            return self.hand_over("", visitor);
        }
        let (url, _) = self.type_url("@type")?;
        let name = type_name(url);
        let linked = self.pass.reader.extensions.find(category, name).is_ok();
        // Envoy, too, refuses what is no message of its API.
        if linked || TYPED_STRUCTS.contains(&name) || known::message(name).is_none() {
            self.typed(category, visitor)
        } else {
            self.hand_over(name, visitor)
        }
    }

    /// Hands over a typed config that is only kept. Envoy refuses any type that it does not have, wherever it stands.
    pub(super) fn kept<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let (url, location) = self.type_url("@type")?;
        let name = type_name(url);
        if known::message(name).is_none() && !self.pass.reader.extensions.has_type(name) {
            let message =
                format!("unknown type `{name}`: neither Envoy's API nor an extension that is linked has it");
            self.pass.error(self.path, location, message);
        }
        self.hand_over(name, visitor)
    }

    /// The type URL under `key`, and where it stands.
    fn type_url(&self, key: &str) -> Result<(&str, Location), Error> {
        if !matches!(self.node.value, NodeValue::Map(_)) {
            return Err(Error::custom(format_args!(
                "expected a typed config, a map with `@type`, not {}",
                self.node.describe()
            )));
        }
        match self.node.get(key).and_then(|node| Some((node.as_text()?, node.location()))) {
            Some((url, location)) if !type_name(url).is_empty() => Ok((url, location)),
            _ => Err(Error::custom(format_args!("`{key}` is missing: it names the type of this config"))),
        }
    }

    fn resolved<'de, V: Visitor<'de>>(
        &self,
        category: &'static str,
        (url, location): (&str, Location),
        visitor: V,
    ) -> Result<V::Value, Error> {
        let registration = self.pass.reader.extensions.find(category, type_name(url)).map_err(|unknown| {
            self.pass.error(self.path, location, unknown.to_string());
            Error::Message(String::new())
        })?;
        let canonical = registration.type_names[0];
        let entries = without_type(self.entries());
        let path = Path::Typed(&self.path, canonical);
        let typed = NodeDeserializer { path, ..*self };
        let fields = match (registration.fields)() {
            Fields::Named(names) => FieldAccess::new(typed, entries, names),
            Fields::Unreadable(why) => {
                return Err(Error::custom(format_args!("the config type of {} {why}", registration.name)));
            }
        };
        let (node, path) = (Arc::clone(self.node), self.path.to_config_path());
        handoff::put(Handoff { node, path, type_name: canonical.into() });
        visitor.visit_newtype_struct(TypedDeserializer { registration, fields, tag: Some(Tag::Key) })
    }
}

/// The entries of a typed config; `@type` is not one of its fields wherever it stands.
fn without_type(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| &*entry.key != "@type")
}

enum Tag {
    Key,
    Value,
}

/// What typetag sees: the canonical `@type` first, then the fields.
struct TypedDeserializer<'r> {
    registration: &'static Registration,
    fields: FieldAccess<'r>,
    tag: Option<Tag>,
}

impl<'de> Deserializer<'de> for TypedDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for TypedDeserializer<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if matches!(self.tag, Some(Tag::Key)) {
            self.tag = Some(Tag::Value);
            return seed.deserialize(name("@type")).map(Some);
        }
        self.fields.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        if self.tag.take().is_some() {
            return seed.deserialize(name(self.registration.type_names[0]));
        }
        self.fields.next_value_seed(seed)
    }
}
