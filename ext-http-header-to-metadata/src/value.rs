//! From the text of a header to a value of metadata.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use underpass_core::config::{Value, decode_any};

use crate::config::{ValueEncode, ValueType};

/// Longer values are not noted.
const MAX_LENGTH: usize = 8 * 1024;

/// Padding may be there or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a text is to become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) value_type: ValueType,
    pub(crate) encode: ValueEncode,
}

/// Why nothing is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The text is empty, or not of the type that it should be.
    NoValue,
    /// Nothing is left of it after the rewrite.
    Rewrite,
    TooLong,
    Base64,
}

/// The value that a text stands for.
pub(crate) fn make(text: String, form: Form) -> Result<Value, Failure> {
    if text.is_empty() {
        return Err(Failure::NoValue);
    }
    if text.len() >= MAX_LENGTH {
        return Err(Failure::TooLong);
    }
    let bytes = match form.encode {
        ValueEncode::None => text.into_bytes(),
        ValueEncode::Base64 => BASE64.decode(text).ok().filter(|it| !it.is_empty()).ok_or(Failure::Base64)?,
    };
    match form.value_type {
        ValueType::String => Ok(Value::String(into_text(bytes))),
        ValueType::Number => number(into_text(bytes).trim()).map(Value::Number).ok_or(Failure::NoValue),
        ValueType::ProtobufValue => protobuf_value(&bytes).ok_or(Failure::NoValue),
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A number, as Envoy reads it: with a leading `0x`, too.
fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(f64::from),
        None => text.parse().ok(),
    }
}

fn protobuf_value(bytes: &[u8]) -> Option<Value> {
    let any = decode_any("header", "type.googleapis.com/google.protobuf.Value", bytes).ok()?;
    any.get("value").map(|value| Value::from_node(value))
}
