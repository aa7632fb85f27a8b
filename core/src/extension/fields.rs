//! Which fields a config type has, found out without a config.
//!
//! Camel-case names and the report of unknown fields depend on the list. The reader asks for it before it reads, so a type
//! that has none is refused with the reason.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};

/// The fields of a config type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    /// Their names.
    Named(&'static [&'static str]),
    /// The type cannot be the config of an extension; the text says why, to follow the type's name.
    Unreadable(&'static str),
}

/// The fields of `T`.
pub fn fields_of<T: DeserializeOwned>() -> Fields {
    let fields = Cell::new(Fields::Unreadable("does not ask for a message"));
    // The error ends the reading as soon as the list is known.
    let _ended = T::deserialize(FieldLister(&fields));
    fields.get()
}

struct FieldLister<'f>(&'f Cell<Fields>);

impl FieldLister<'_> {
    fn found<T>(&self, fields: Fields) -> Result<T, Listed> {
        self.0.set(fields);
        Err(Listed)
    }
}

#[derive(Debug)]
struct Listed;

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields are listed")
    }
}

impl std::error::Error for Listed {}

impl serde::de::Error for Listed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for FieldLister<'_> {
    type Error = Listed;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Listed> {
        self.found(Fields::Unreadable("is no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Listed> {
        self.found(Fields::Named(fields))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Listed> {
        self.found(Fields::Named(&[]))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Listed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Listed> {
        self.found(Fields::Unreadable(
            "is a map or uses #[serde(flatten)], which the config reader forbids because it loses the place of errors",
        ))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit seq tuple
        tuple_struct enum identifier ignored_any
    }
}
