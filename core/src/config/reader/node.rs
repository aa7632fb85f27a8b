//! The deserializer of one node.

use std::{fmt::Display, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserializer,
    de::{Error as _, Visitor, value::SeqDeserializer},
};

use super::{
    Pass,
    access::{ElementAccess, EntryAccess, FieldAccess, NameAccess},
    error::Error,
    handoff::{self, Handoff},
    path::Path,
};
use crate::config::{Entry, Node, NodeValue, duration, scalar};

const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'r> {
    pub(super) pass: &'r Pass<'r>,
    pub(super) node: &'r Arc<Node>,
    pub(super) path: Path<'r>,
}

impl<'r> NodeDeserializer<'r> {
    pub(super) fn error(&self, message: impl Display) {
        self.pass.error(self.path, self.node.location(), message.to_string());
    }

    fn expected(&self, what: &str) {
        self.error(format_args!("expected {what}, not {}", self.node.describe()));
    }

    /// Runs the reading of this node, and gives an error that comes out of it its place.
    pub(super) fn settle<T>(&self, read: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        let errors = self.pass.error_count();
        let found = self.pass.found.borrow().len();
        let result = read(self);
        for complaint in handoff::complaints() {
            self.complain_once(errors, complaint);
        }
        match result {
            Err(Error::Message(message)) => {
                self.complain_once(errors, message);
                self.pass.break_off(self.path, found);
                Err(Error::Reported)
            }
            result => result,
        }
    }

    /// What a type says about a whole after a part of it was refused would mostly be a consequence of that.
    fn complain_once(&self, errors_before: usize, message: String) {
        if self.pass.error_count() == errors_before {
            self.error(message);
        }
    }

    fn text(&self) -> Option<(&'r str, bool)> {
        match &self.node.value {
            NodeValue::Scalar { text, plain } => Some((text, *plain)),
            _ => None,
        }
    }

    /// The scalar's text; what is none is reported and read as empty.
    fn string(&self, what: &str) -> &'r str {
        match &self.node.value {
            NodeValue::Scalar { text, .. } => text,
            NodeValue::Null => "",
            NodeValue::List(_) | NodeValue::Map(_) => {
                self.expected(what);
                ""
            }
        }
    }

    fn integer(&self, min: i128, max: i128) -> i128 {
        if self.node.is_null() {
            return 0;
        }
        let Some((text, plain)) = self.text() else {
            self.expected("a whole number");
            return 0;
        };
        match scalar::integer(text, plain) {
            Some(number) if (min..=max).contains(&number) => return number,
            Some(number) => self.error(format_args!("{number} is out of range: {min} to {max} is possible")),
            None => self.expected("a whole number"),
        }
        0
    }

    fn float(&self) -> f64 {
        match self.text() {
            _ if self.node.is_null() => 0.0,
            Some((text, plain)) => scalar::float(text, plain).unwrap_or_else(|| {
                self.expected("a number");
                0.0
            }),
            None => {
                self.expected("a number");
                0.0
            }
        }
    }

    fn boolean(&self) -> bool {
        match self.text() {
            _ if self.node.is_null() => false,
            Some((text, true)) if scalar::boolean(text).is_some() => scalar::boolean(text) == Some(true),
            _ => {
                self.expected("true or false");
                false
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let text = self.string("bytes in base64");
        STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).unwrap_or_else(|error| {
            self.error(format_args!("expected bytes in base64, not {text:?}: {error}"));
            Vec::new()
        })
    }

    fn elements(&self) -> &'r [Arc<Node>] {
        match &self.node.value {
            NodeValue::List(elements) => elements,
            NodeValue::Null => &[],
            NodeValue::Scalar { .. } | NodeValue::Map(_) => {
                self.expected("a list");
                &[]
            }
        }
    }

    pub(super) fn entries(&self) -> &'r [Entry] {
        match &self.node.value {
            NodeValue::Map(entries) => entries,
            NodeValue::Null => &[],
            NodeValue::Scalar { .. } | NodeValue::List(_) => {
                self.expected("a map");
                &[]
            }
        }
    }

    /// A `std::time::Duration` from `"1.5s"`.
    fn duration<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let text = self.string("a duration such as `1.5s`");
        let duration = if text.is_empty() && !matches!(self.node.value, NodeValue::Scalar { .. }) {
            std::time::Duration::ZERO
        } else {
            duration::parse(text).unwrap_or_else(|error| {
                self.error(error);
                std::time::Duration::ZERO
            })
        };
        let parts = [duration.as_secs(), u64::from(duration.subsec_nanos())];
        visitor.visit_seq(SeqDeserializer::new(parts.into_iter()))
    }

    fn hand_over<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let path = self.path.to_config_path();
        handoff::put(Handoff { node: Arc::clone(self.node), path, type_name: String::new() });
        visitor.visit_unit()
    }
}

macro_rules! deserialize_integers {
    ($($method:ident $visit:ident $type:ident)+) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.settle(|this| {
                let number = this.integer($type::MIN.into(), $type::MAX.into());
                visitor.$visit($type::try_from(number).unwrap_or_default())
            })
        }
    )+ };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    /// For types that take what comes: plain scalars are what YAML takes them for.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            NodeValue::Null => self.settle(|_| visitor.visit_unit()),
            NodeValue::List(_) => self.deserialize_seq(visitor),
            NodeValue::Map(_) => self.deserialize_map(visitor),
            NodeValue::Scalar { text, plain } => self.settle(|_| match scalar::to_json(text, *plain) {
                serde_json::Value::Bool(value) => visitor.visit_bool(value),
                serde_json::Value::Number(number) => {
                    match (number.as_u64(), number.as_i64(), number.as_f64()) {
                        (Some(number), _, _) => visitor.visit_u64(number),
                        (_, Some(number), _) => visitor.visit_i64(number),
                        (_, _, number) => visitor.visit_f64(number.unwrap_or_default()),
                    }
                }
                _ => visitor.visit_str(text),
            }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_bool(this.boolean()))
    }

    deserialize_integers! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_f64(this.float()))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_str(this.string("a text")))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_byte_buf(this.bytes()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| if this.node.is_null() { visitor.visit_none() } else { visitor.visit_some(*this) })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit_struct("", visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.settle(|this| {
            FieldAccess::new(*this, this.entries(), &[]);
            visitor.visit_unit()
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.settle(|this| match name {
            handoff::NODE => this.hand_over(visitor),
            _ => visitor.visit_newtype_struct(*this),
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_seq(ElementAccess::new(*this, this.elements())))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_map(EntryAccess::new(*this, this.entries())))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.settle(|this| match (name, fields) {
            (handoff::TYPED, [category]) => this.typed(category, visitor),
            ("Duration", ["secs", "nanos"]) => this.duration(visitor),
            _ => visitor.visit_map(FieldAccess::new(*this, this.entries(), fields)),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.settle(|this| visitor.visit_enum(NameAccess::new(*this, variants)?))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_i128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        self.settle(|_| Err(Error::custom("protobuf has no 128-bit numbers")))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i128(visitor)
    }
}
