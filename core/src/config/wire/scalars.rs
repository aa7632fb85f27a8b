//! Scalars on the wire, and as the words that a file would have for them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::fields::{self, Payload};
use crate::config::{
    NodeValue,
    known::{Scalar, Type},
};

/// The word for a scalar; `None` if the payload is not of its wire type, or text is not UTF-8.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "protobuf sends 32-bit numbers sign-extended, and reads back the lower bits"
)]
pub(super) fn value(scalar: Scalar, payload: Payload<'_>) -> Option<NodeValue> {
    Some(match (scalar, payload) {
        (Scalar::Bool, Payload::Varint(number)) => plain(if number == 0 { "false" } else { "true" }),
        (Scalar::Int32, Payload::Varint(number)) => plain((number as i32).to_string()),
        (Scalar::Int64, Payload::Varint(number)) | (Scalar::Sfixed64, Payload::Fixed64(number)) => {
            plain((number as i64).to_string())
        }
        (Scalar::Uint32, Payload::Varint(number)) => plain((number as u32).to_string()),
        (Scalar::Uint64, Payload::Varint(number)) | (Scalar::Fixed64, Payload::Fixed64(number)) => {
            plain(number.to_string())
        }
        (Scalar::Sint32, Payload::Varint(number)) => plain((zigzag(number) as i32).to_string()),
        (Scalar::Sint64, Payload::Varint(number)) => plain(zigzag(number).to_string()),
        (Scalar::Fixed32, Payload::Fixed32(number)) => plain(number.to_string()),
        (Scalar::Sfixed32, Payload::Fixed32(number)) => plain((number as i32).to_string()),
        (Scalar::Float, Payload::Fixed32(bits)) => float(f64::from(f32::from_bits(bits))),
        (Scalar::Double, Payload::Fixed64(bits)) => float(f64::from_bits(bits)),
        (Scalar::String, Payload::Bytes(bytes)) => quoted(std::str::from_utf8(bytes).ok()?),
        (Scalar::Bytes, Payload::Bytes(bytes)) => quoted(&STANDARD.encode(bytes)),
        _ => return None,
    })
}

/// What a scalar is that is not on the wire; messages have no such value.
pub(super) fn default(kind: Type) -> Option<NodeValue> {
    match kind {
        Type::Scalar(Scalar::String | Scalar::Bytes) => Some(quoted("")),
        Type::Scalar(Scalar::Bool) => Some(plain("false")),
        Type::Scalar(_) | Type::Enum(_) => Some(plain("0")),
        Type::Message(_) => None,
    }
}

/// Whether a list of these may come as one record with all numbers in it.
pub(super) fn is_packable(kind: Type) -> bool {
    !matches!(kind, Type::Message(_) | Type::Scalar(Scalar::String | Scalar::Bytes))
}

/// The payloads in such a record; `None` if it is cut off.
pub(super) fn unpack(kind: Type, mut bytes: &[u8]) -> Option<Vec<Payload<'_>>> {
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        payloads.push(match kind {
            Type::Scalar(Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float) => {
                Payload::Fixed32(fields::fixed32(&mut bytes)?)
            }
            Type::Scalar(Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double) => {
                Payload::Fixed64(fields::fixed64(&mut bytes)?)
            }
            _ => Payload::Varint(fields::varint(&mut bytes)?),
        });
    }
    Some(payloads)
}

pub(super) fn plain(word: impl Into<Box<str>>) -> NodeValue {
    NodeValue::Scalar { text: word.into(), plain: true }
}

pub(super) fn quoted(text: &str) -> NodeValue {
    NodeValue::Scalar { text: text.into(), plain: false }
}

pub(super) fn float(number: f64) -> NodeValue {
    if number.is_nan() {
        plain("NaN")
    } else if number.is_infinite() {
        plain(if number > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        plain(number.to_string())
    }
}

/// Small negative numbers as small positive ones: 0, -1, 1, -2, …
#[expect(clippy::cast_possible_wrap, reason = "the halves of both operands fit")]
fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
