//! `google.protobuf.Struct` and `Value`: data whose shape the config's author chose, as in metadata and JSON log
//! formats.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use super::{Node, NodeValue, reader::handoff, scalar};

/// A map of values by name, printed with its keys sorted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Struct(pub BTreeMap<String, Value>);

/// A value of no fixed type.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; protobuf knows only 64-bit floats here.
    Number(f64),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Struct(Struct),
}

impl Struct {
    /// The map that a node holds; empty for anything else.
    pub fn from_node(node: &Node) -> Self {
        node.entries().iter().map(|entry| (entry.key.to_string(), Value::from_node(&entry.value))).collect()
    }
}

impl Value {
    /// The value that a node holds, plain words read as Envoy's YAML reader does.
    pub fn from_node(node: &Node) -> Self {
        match &node.value {
            NodeValue::Null => Self::Null,
            NodeValue::List(elements) => {
                Self::List(elements.iter().map(|element| Self::from_node(element)).collect())
            }
            NodeValue::Map(_) => Self::Struct(Struct::from_node(node)),
            NodeValue::Scalar { text, plain: false } => Self::String(text.to_string()),
            NodeValue::Scalar { text, plain: true } => Self::from_plain_word(text),
        }
    }

    fn from_plain_word(text: &str) -> Self {
        if let Some(value) = scalar::boolean(text) {
            return Self::Bool(value);
        }
        match scalar::number(text, true) {
            Some(number) => Self::Number(number),
            None => Self::String(text.to_owned()),
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Self::Struct(values) => Some(values),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The value as JSON text, as Envoy's formatter prints it: `{"list":[1,"two"],"value":"x"}`.
    pub fn to_json(&self) -> String {
        // Numbers that JSON has no words for become null in serde_json, so nothing can fail here.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Deref for Struct {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Struct {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl FromIterator<(String, Value)> for Struct {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl IntoIterator for Struct {
    type Item = (String, Value);
    type IntoIter = std::collections::btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'s> IntoIterator for &'s Struct {
    type Item = (&'s String, &'s Value);
    type IntoIter = std::collections::btree_map::Iter<'s, String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for Struct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = handoff::request(deserializer, handoff::NODE)?.node;
        if !matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
            handoff::complain(format!("expected a map, not {}", node.describe()))?;
        }
        Ok(Self::from_node(&node))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_node(&handoff::request(deserializer, handoff::NODE)?.node))
    }
}

impl Serialize for Struct {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => {
                match scalar::whole(*number).and_then(|number| i64::try_from(number).ok()) {
                    Some(integer) => serializer.serialize_i64(integer),
                    None => serializer.serialize_f64(*number),
                }
            }
            Self::String(text) => serializer.serialize_str(text),
            Self::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(value)?;
                }
                list.end()
            }
            Self::Struct(values) => values.serialize(serializer),
        }
    }
}
