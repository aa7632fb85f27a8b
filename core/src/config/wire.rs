//! From protobuf's binary form, as control planes send it, to the same tree that a file becomes.
//!
//! The vendored table of Envoy's messages ([`known`]) says what the numbers on the wire mean. Messages that are not in
//! it, such as those of third parties, can only come as `xds.type.v3.TypedStruct`, which carries its field names.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

mod fields;
mod scalars;
mod well_known;

use std::sync::Arc;

use self::fields::Payload;
use super::{
    Entry, Mark, Node, NodeValue,
    known::{self, Kind, Type},
    merge,
    typed::type_name,
};

/// The depth at which protobuf's own decoders stop.
const MAX_DEPTH: usize = 100;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {problem}")]
pub struct DecodeError {
    /// The innermost message that could not be decoded.
    pub message: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Decodes the content of a `google.protobuf.Any`; the tree is the map that a file would have, `@type` first.
///
/// `source` stands in the place of a file name, and every node is at its first line.
///
/// # Errors
/// If the type is not in the table, or the bytes are not of that type.
pub fn decode_any(source: &str, type_url: &str, value: &[u8]) -> Result<Arc<Node>, DecodeError> {
    Decoder { source: source.into() }.any(type_url, value, 0).map(Arc::new)
}

/// A problem of the message that is being decoded.
type Problem = String;

struct Decoder {
    source: Arc<str>,
}

impl Decoder {
    fn any(&self, type_url: &str, value: &[u8], depth: usize) -> Result<Node, DecodeError> {
        let name = type_name(type_url);
        let mut entries = vec![entry("@type", self.text(type_url))];
        let decoded = self.message(name, value, depth)?;
        match decoded.value {
            NodeValue::Map(fields) if !well_known::has_own_json(name) => entries.extend(fields),
            // As proto3 JSON writes an Any of a message that is no map there.
            _ => entries.push(entry("value", decoded)),
        }
        Ok(self.node(NodeValue::Map(entries)))
    }

    fn message(&self, name: &str, bytes: &[u8], depth: usize) -> Result<Node, DecodeError> {
        let fail = |problem: Problem| DecodeError { message: name.to_owned(), problem };
        if depth >= MAX_DEPTH {
            return Err(fail(format!("more than {MAX_DEPTH} levels are nested here")));
        }
        let fields = fields::parse(bytes).map_err(fail)?;
        if well_known::has_own_json(name) {
            return self.well_known(name, &fields, depth);
        }
        let message = known::message(name).ok_or_else(|| {
            fail("Envoy's API has no such message; others must come as xds.type.v3.TypedStruct".to_owned())
        })?;
        let mut entries: Vec<Entry> = Vec::new();
        for field in &fields {
            let known = message
                .field_numbered(field.number)
                .ok_or_else(|| fail(format!("it has no field of number {}", field.number)))?;
            let value = self.field(&known, field.payload, depth)?.ok_or_else(|| {
                fail(format!("the bytes of `{}` are not of the kind that the field has", known.name))
            })?;
            match entries.iter_mut().find(|entry| &*entry.key == known.name) {
                None => entries.push(entry(known.name, value)),
                // Lists go on, maps gain a key, messages are merged, and of scalars the last one counts.
                Some(entry) => entry.value = merge(&entry.value, &Arc::new(value)),
            }
        }
        Ok(self.node(NodeValue::Map(entries)))
    }

    /// One occurrence of a field: a value, or a list or map of one value. `None` if the bytes do not fit.
    fn field(
        &self,
        field: &known::Field,
        payload: Payload<'_>,
        depth: usize,
    ) -> Result<Option<Node>, DecodeError> {
        match (field.kind, payload) {
            (Kind::Single(single), _) => self.value(single, payload, depth),
            (Kind::Repeated(element), Payload::Bytes(bytes)) if scalars::is_packable(element) => {
                let Some(payloads) = scalars::unpack(element, bytes) else { return Ok(None) };
                let nodes: Result<Option<Vec<_>>, _> = payloads
                    .into_iter()
                    .map(|payload| Ok(self.value(element, payload, depth)?.map(Arc::new)))
                    .collect();
                Ok(nodes?.map(|nodes| self.node(NodeValue::List(nodes))))
            }
            (Kind::Repeated(element), _) => {
                let element = self.value(element, payload, depth)?;
                Ok(element.map(|element| self.node(NodeValue::List(vec![Arc::new(element)]))))
            }
            (Kind::Map(key, value), Payload::Bytes(bytes)) => {
                self.map_entry(Type::Scalar(key), value, bytes, depth)
            }
            (Kind::Map(..), _) => Ok(None),
        }
    }

    fn value(&self, kind: Type, payload: Payload<'_>, depth: usize) -> Result<Option<Node>, DecodeError> {
        match (kind, payload) {
            (Type::Message(name), Payload::Bytes(bytes)) => self.message(name, bytes, depth + 1).map(Some),
            (Type::Enum(name), Payload::Varint(number)) => Ok(Some(self.enum_value(name, number))),
            (Type::Message(_) | Type::Enum(_), _) => Ok(None),
            (Type::Scalar(scalar), _) => Ok(scalars::value(scalar, payload).map(|value| self.node(value))),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "enums are 32 bits wide, whatever the wire holds")]
    fn enum_value(&self, name: &str, number: u64) -> Node {
        let number = number as i32;
        let name = known::enumeration(name).and_then(|values| values.value_name(number));
        self.node(scalars::plain(name.map_or_else(|| number.to_string(), str::to_owned)))
    }

    /// A pair of a map is a message with the key as field 1 and the value as field 2.
    fn map_entry(
        &self,
        key: Type,
        value: Type,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Option<Node>, DecodeError> {
        let Ok(fields) = fields::parse(bytes) else { return Ok(None) };
        let key = match fields::last(&fields, 1) {
            Some(payload) => self.value(key, payload, depth)?,
            None => scalars::default(key).map(|key| self.node(key)),
        };
        let value = match fields::last(&fields, 2) {
            Some(payload) => self.value(value, payload, depth)?,
            None => match value {
                Type::Message(name) => Some(self.message(name, &[], depth + 1)?),
                other => scalars::default(other).map(|value| self.node(value)),
            },
        };
        let (Some(key), Some(value)) = (key, value) else { return Ok(None) };
        Ok(Some(self.node(NodeValue::Map(vec![entry(key.as_text().unwrap_or_default(), value)]))))
    }

    fn node(&self, value: NodeValue) -> Node {
        Node { file: Arc::clone(&self.source), mark: Mark { line: 1, column: 1 }, value }
    }

    fn text(&self, text: &str) -> Node {
        self.node(scalars::quoted(text))
    }
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { key: key.into(), mark: value.mark, value: Arc::new(value) }
}

#[cfg(test)]
mod tests;
