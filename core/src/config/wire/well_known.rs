//! The messages of `google.protobuf` that JSON writes in a form of their own.
//!
//! <https://protobuf.dev/programming-guides/json/>

use std::sync::Arc;

use super::{
    Decoder, Fault,
    fields::{self, Field, Payload},
    insert,
    scalars::{self, float, plain, quoted},
};
use crate::config::{
    Node, NodeValue,
    known::{Scalar, Type},
};

/// Whether JSON has a form of its own for the message.
pub(super) fn has_own_json(name: &str) -> bool {
    const NAMES: [&str; 7] = ["Any", "Duration", "FieldMask", "ListValue", "Struct", "Timestamp", "Value"];
    name.strip_prefix("google.protobuf.")
        .is_some_and(|short| NAMES.contains(&short) || wrapped_scalar(name).is_some())
}

/// The scalar in a wrapper message such as `google.protobuf.UInt32Value`.
fn wrapped_scalar(name: &str) -> Option<Scalar> {
    Some(match name.strip_prefix("google.protobuf.")?.strip_suffix("Value")? {
        "Bool" => Scalar::Bool,
        "Bytes" => Scalar::Bytes,
        "Double" => Scalar::Double,
        "Float" => Scalar::Float,
        "Int32" => Scalar::Int32,
        "Int64" => Scalar::Int64,
        "String" => Scalar::String,
        "UInt32" => Scalar::Uint32,
        "UInt64" => Scalar::Uint64,
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn well_known(&self, name: &str, fields: &[Field<'_>], depth: usize) -> Result<Node, Fault> {
        let wrong = || Fault::new(name, "its bytes are not those of such a message");
        if let Some(scalar) = wrapped_scalar(name) {
            let value = match fields::last(fields, 1) {
                Some(payload) => scalars::value(scalar, payload),
                None => scalars::default(Type::Scalar(scalar)),
            };
            return value.map(|value| self.node(value)).ok_or_else(wrong);
        }
        match name {
            "google.protobuf.Any" => {
                let url = text(fields, 1).ok_or_else(wrong)?;
                match fields::last(fields, 2) {
                    None => self.any(url, &[], depth + 1),
                    Some(Payload::Bytes(value)) => self.any(url, value, depth + 1),
                    Some(_) => Err(wrong()),
                }
            }
            "google.protobuf.Duration" => Ok(self.node(duration(fields).ok_or_else(wrong)?)),
            "google.protobuf.Timestamp" => Ok(self.node(timestamp(fields).ok_or_else(wrong)?)),
            "google.protobuf.FieldMask" => {
                let paths = fields.iter().map(|field| text(&[*field], 1)).collect::<Option<Vec<_>>>();
                Ok(self.text(&paths.ok_or_else(wrong)?.join(",")))
            }
            "google.protobuf.Struct" => self.struct_map(fields, depth)?.ok_or_else(wrong),
            "google.protobuf.ListValue" => {
                let values = fields.iter().map(|field| match field.payload {
                    Payload::Bytes(bytes) => {
                        self.message("google.protobuf.Value", bytes, depth + 1).map(Arc::new)
                    }
                    _ => Err(wrong()),
                });
                Ok(self.node(NodeValue::List(values.collect::<Result<_, _>>()?)))
            }
            _ => self.any_value(fields, depth)?.ok_or_else(wrong),
        }
    }

    fn struct_map(&self, fields: &[Field<'_>], depth: usize) -> Result<Option<Node>, Fault> {
        let mut entries = Vec::new();
        for field in fields {
            let Payload::Bytes(bytes) = field.payload else { return Ok(None) };
            let value = Type::Message("google.protobuf.Value");
            match self.map_entry(Type::Scalar(Scalar::String), value, bytes, depth)?.map(|pair| pair.value) {
                Some(NodeValue::Map(pair)) => pair.into_iter().for_each(|pair| insert(&mut entries, pair)),
                _ => return Ok(None),
            }
        }
        Ok(Some(self.node(NodeValue::Map(entries))))
    }

    /// A `google.protobuf.Value`: a oneof of six kinds.
    fn any_value(&self, fields: &[Field<'_>], depth: usize) -> Result<Option<Node>, Fault> {
        let Some(last) = fields.last() else { return Ok(Some(self.node(NodeValue::Null))) };
        let value = match (last.number, last.payload) {
            (1, _) => NodeValue::Null,
            (2, Payload::Fixed64(bits)) => float(f64::from_bits(bits)),
            (3, Payload::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => quoted(text),
                Err(_) => return Ok(None),
            },
            (4, Payload::Varint(number)) => plain(if number == 0 { "false" } else { "true" }),
            (5, Payload::Bytes(bytes)) => {
                return self.message("google.protobuf.Struct", bytes, depth + 1).map(Some);
            }
            (6, Payload::Bytes(bytes)) => {
                return self.message("google.protobuf.ListValue", bytes, depth + 1).map(Some);
            }
            _ => return Ok(None),
        };
        Ok(Some(self.node(value)))
    }
}

fn text<'b>(fields: &[Field<'b>], number: u32) -> Option<&'b str> {
    match fields::last(fields, number)? {
        Payload::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Seconds and nanoseconds, which may both be negative.
#[expect(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "so protobuf encodes them")]
fn seconds_and_nanos(fields: &[Field<'_>]) -> Option<(i64, i32)> {
    let number = |number| match fields::last(fields, number) {
        None => Some(0),
        Some(Payload::Varint(value)) => Some(value as i64),
        Some(_) => None,
    };
    Some((number(1)?, number(2)? as i32))
}

fn duration(fields: &[Field<'_>]) -> Option<NodeValue> {
    let (seconds, nanos) = seconds_and_nanos(fields)?;
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = format!(".{:09}", nanos.unsigned_abs());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    Some(plain(format!("{sign}{}{fraction}s", seconds.unsigned_abs())))
}

fn timestamp(fields: &[Field<'_>]) -> Option<NodeValue> {
    let (seconds, nanos) = seconds_and_nanos(fields)?;
    jiff::Timestamp::new(seconds, nanos).ok().map(|timestamp| plain(timestamp.to_string()))
}
