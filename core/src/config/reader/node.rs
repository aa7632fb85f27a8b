//! The deserializer of one node: what kind of value serde asks for, and how the node gives it.

use std::{any::Any, fmt::Display, sync::Arc};

use serde::{
    Deserializer,
    de::{Error as _, Visitor},
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
    #[inline]
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
    #[inline]
    pub(super) fn settle<T>(self, read: impl FnOnce(Self) -> Result<T, Error>) -> Result<T, Error> {
        let start = self.pass.moment();
        match read(self) {
            Ok(value) => {
                self.note_complaints(start);
                Ok(value)
            }
            Err(error) => Err(self.place(error, start)),
        }
    }

    /// What was said of values that went on all the same.
    #[inline(never)]
    fn note_complaints(&self, start: Moment) {
        for complaint in handoff::complaints() {
            self.complain(start, complaint);
        }
    }

    /// Gives an error its place, unless it has one.
    #[inline(never)]
    fn place(&self, error: Error, start: Moment) -> Error {
        self.note_complaints(start);
        if let Error::Message(message) = error {
            self.complain(start, message);
            if !self.pass.cut_since(start) {
                self.pass.break_off(self.node, self.path, start);
            }
        }
        Error::Reported
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

    #[inline(never)]
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

    /// Puts this node where the visitor that is called next takes it.
    #[inline(never)]
    pub(super) fn hand_over(&self, type_name: &str, config: Option<Box<dyn Any>>) {
        let (node, path) = (Arc::clone(self.node), self.path.to_config_path());
        handoff::put(Handoff { node, path, type_name: type_name.into(), config });
    }

    /// What a type asks for that says it is a struct of this name with these fields.
    #[inline(never)]
    fn structure(&self, name: &'static str, fields: &'static [&'static str]) -> Result<Structure<'r>, Error> {
        match (name, fields) {
            (handoff::TYPED, [category]) => self.typed(category).map(|()| Structure::HandedOver),
            (handoff::OPTIONAL_TYPED, [category]) => {
                self.optional_typed(category).map(|()| Structure::HandedOver)
            }
            // So does the standard library's own type ask to be read.
            ("Duration", ["secs", "nanos"]) => Ok(Structure::Duration(self.duration_entries())),
            _ => Ok(Structure::Message(FieldAccess::new(*self, self.entries(), fields))),
        }
    }

    /// A duration, as the fields that the standard library's type has.
    fn duration_entries(&self) -> [Entry; 2] {
        let duration = self.duration();
        let parts = [("secs", duration.as_secs()), ("nanos", u64::from(duration.subsec_nanos()))];
        parts.map(|(key, number)| {
            let value = NodeValue::Scalar { text: number.to_string().into(), plain: true };
            let value = Arc::new(Node { value, file: Arc::clone(&self.node.file), mark: self.node.mark });
            Entry { key: key.into(), mark: self.node.mark, value }
        })
    }
}

/// How the visitor of a struct is to be called. Everything that does not depend on its type is behind this: a message
/// costs the binary little more than its own code.
enum Structure<'r> {
    /// The visitor takes what was handed over.
    HandedOver,
    Duration([Entry; 2]),
    Message(FieldAccess<'r>),
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
            handoff::NODE => {
                self.hand_over("", None);
                visitor.visit_unit()
            }
            handoff::ANY => {
                self.kept()?;
                visitor.visit_unit()
            }
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
        match self.structure(name, fields)? {
            Structure::HandedOver => visitor.visit_unit(),
            Structure::Duration(entries) => visitor.visit_map(FieldAccess::new(self, &entries, fields)),
            Structure::Message(access) => visitor.visit_map(access),
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
