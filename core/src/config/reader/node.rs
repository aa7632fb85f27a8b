//! The deserializer of one node: what kind of value serde asks for, and how the node gives it.

use std::{fmt::Display, sync::Arc};

use serde::{
    Deserializer,
    de::{Error as _, Visitor, value::SeqDeserializer},
};

use super::{
    choice::ChoiceAccess,
    error::Error,
    handoff::{self, Handoff},
    list::ElementAccess,
    map::EntryAccess,
    message::FieldAccess,
    pass::{Moment, Pass},
    path::Path,
};
use crate::config::{Entry, Node, NodeValue, scalar};

/// One node with its path.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'r> {
    pub(super) pass: &'r Pass<'r>,
    pub(super) node: &'r Arc<Node>,
    pub(super) path: Path<'r>,
}

impl<'r> NodeDeserializer<'r> {
    /// Reads a part of this node, and gives the errors that come out of it their place.
    pub(super) fn child<T>(
        &self,
        node: &Arc<Node>,
        path: Path<'_>,
        read: impl FnOnce(NodeDeserializer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.pass.leaves_out(node, path) {
            // It is known what is wrong, and there is nothing to go on with: this node breaks too.
            return Err(Error::Message(String::new()));
        }
        NodeDeserializer { pass: self.pass, node, path }.settle(read)
    }

    /// Reads this node, and gives the errors that come out of it its place.
    pub(super) fn settle<T>(self, read: impl FnOnce(Self) -> Result<T, Error>) -> Result<T, Error> {
        let start = self.pass.moment();
        let result = read(self);
        for complaint in handoff::complaints() {
            self.complain(start, complaint);
        }
        match result {
            Err(Error::Message(message)) => {
                self.complain(start, message);
                if !self.pass.cut_since(start) {
                    self.pass.break_off(self.node, self.path, start);
                }
                Err(Error::Reported)
            }
            result => result,
        }
    }

    /// What a type says about a whole after a part of it was refused would mostly be a consequence of that.
    fn complain(&self, start: Moment, message: String) {
        if !self.pass.refused_since(start) {
            self.error(message);
        }
    }

    pub(super) fn error(&self, message: impl Display) {
        self.pass.error(self.path, self.node.location(), message.to_string());
    }

    pub(super) fn expected(&self, what: &str) {
        self.error(format_args!("expected {what}, not {}", self.node.describe()));
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

    pub(super) fn hand_over<'de, V: Visitor<'de>>(
        &self,
        type_name: &str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let path = self.path.to_config_path();
        handoff::put(Handoff { node: Arc::clone(self.node), path, type_name: type_name.into() });
        visitor.visit_unit()
    }
}

macro_rules! deserialize_integers {
    ($($method:ident $visit:ident $type:ident)+) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.integer($type::MIN.into(), $type::MAX.into());
            visitor.$visit($type::try_from(number).unwrap_or_default())
        }
    )+ };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    /// For types that take what comes: plain scalars are what YAML takes them for.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            NodeValue::Null => visitor.visit_unit(),
            NodeValue::List(_) => self.deserialize_seq(visitor),
            NodeValue::Map(_) => self.deserialize_map(visitor),
            NodeValue::Scalar { text, plain } => match scalar::to_json(text, *plain) {
                serde_json::Value::Bool(value) => visitor.visit_bool(value),
                serde_json::Value::Number(number) => {
                    match (number.as_u64(), number.as_i64(), number.as_f64()) {
                        (Some(number), _, _) => visitor.visit_u64(number),
                        (_, Some(number), _) => visitor.visit_i64(number),
                        (_, _, number) => visitor.visit_f64(number.unwrap_or_default()),
                    }
                }
                _ => visitor.visit_str(text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.boolean())
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
        visitor.visit_f64(self.float())
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.bytes())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit_struct("", visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        FieldAccess::new(self, self.entries(), &[]);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            handoff::NODE => self.hand_over("", visitor),
            handoff::ANY => self.kept(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(ElementAccess::new(self, self.elements()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        match self.elements().len() {
            count if count == len => self.deserialize_seq(visitor),
            count => Err(Error::custom(format_args!("expected a list of {len} elements, not of {count}"))),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(EntryAccess::new(self, self.entries()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (name, fields) {
            (handoff::TYPED, [category]) => self.typed(category, visitor),
            (handoff::OPTIONAL_TYPED, [category]) => self.optional_typed(category, visitor),
            // So does the standard library's own type ask to be read.
            ("Duration", ["secs", "nanos"]) => {
                let duration = self.duration();
                let parts = [duration.as_secs(), u64::from(duration.subsec_nanos())];
                visitor.visit_seq(SeqDeserializer::new(parts.into_iter()))
            }
            _ => visitor.visit_map(FieldAccess::new(self, self.entries(), fields)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(ChoiceAccess::new(self, variants)?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_i128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("protobuf has no 128-bit numbers"))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i128(visitor)
    }
}
