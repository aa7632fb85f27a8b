//! Maps whose keys are data, pair by pair.

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{error::Error, node::NodeDeserializer, path::Path};
use crate::config::{Entry, scalar};

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
