//! Scalars as serde asks for them. What cannot be read is reported, and a default goes on in its place.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::node::NodeDeserializer;
use crate::config::{Node, NodeValue, duration, known::Type, scalar};

// Protobuf's JSON reader takes both alphabets, with padding and without.
const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

impl<'r> NodeDeserializer<'r> {
    /// The text of the scalar and whether it is plain; `None` if there is none, which is reported unless it is null.
    fn scalar(&self, what: &str) -> Option<(&'r str, bool)> {
        match &self.node.value {
            NodeValue::Scalar { text, plain } => Some((text, *plain)),
            NodeValue::Null => None,
            NodeValue::List(_) | NodeValue::Map(_) => {
                let inner = self.wrapped();
                if inner.is_none() {
                    self.expected(what);
                }
                inner
            }
        }
    }

    /// The scalar in `{value: 5}`, as which Envoy also accepts a wrapper message.
    fn wrapped(&self) -> Option<(&'r str, bool)> {
        let [entry] = self.node.entries() else { return None };
        match (self.path.value_type(), &entry.value.value) {
            (Some(Type::Message(name)), NodeValue::Scalar { text, plain })
                if &*entry.key == "value"
                    && name.starts_with("google.protobuf.")
                    && name.ends_with("Value") =>
            {
                Some((text, *plain))
            }
            _ => None,
        }
    }

    pub(super) fn string(&self, what: &str) -> &'r str {
        self.scalar(what).map_or("", |(text, _)| text)
    }

    /// A text. A plain number, `true` or `false` is none for Envoy either; a plain `y` or `1.5` is.
    pub(super) fn text(&self) -> &'r str {
        let Some((text, plain)) = self.scalar("a text") else { return "" };
        if plain && scalar::is_number_or_boolean(text) {
            self.error(format_args!("expected a text, not `{text}`: write \"{text}\" with quotes"));
            return "";
        }
        text
    }

    pub(super) fn integer(&self, min: i128, max: i128) -> i128 {
        const WHAT: &str = "a whole number";
        let Some((text, plain)) = self.scalar(WHAT) else { return 0 };
        match scalar::integer(text, plain) {
            Some(number) if (min..=max).contains(&number) => return number,
            Some(number) => {
                self.error(format_args!("{number} is out of range: it must be from {min} to {max}"));
            }
            None => self.expected(WHAT),
        }
        0
    }

    pub(super) fn float(&self) -> f64 {
        const WHAT: &str = "a number";
        let Some((text, plain)) = self.scalar(WHAT) else { return 0.0 };
        scalar::number(text, plain).unwrap_or_else(|| {
            self.expected(WHAT);
            0.0
        })
    }

    pub(super) fn boolean(&self) -> bool {
        const WHAT: &str = "true or false";
        let Some((text, _)) = self.scalar(WHAT) else { return false };
        scalar::boolean(text).unwrap_or_else(|| {
            self.expected(WHAT);
            false
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let text = self.string("bytes in base64");
        STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).unwrap_or_else(|error| {
            self.error(format_args!("expected bytes in base64, not {text:?}: {error}"));
            Vec::new()
        })
    }

    /// From `1.5s`, or from a map of `seconds` and `nanos`, as which Envoy also accepts the message.
    pub(super) fn duration(&self) -> Duration {
        let parsed = match &self.node.value {
            NodeValue::Scalar { text, .. } => duration::parse(text),
            NodeValue::Map(_) => duration_parts(self.node),
            NodeValue::Null => Ok(Duration::ZERO),
            NodeValue::List(_) => Err("expected a duration such as `1.5s`, not a list".to_owned()),
        };
        parsed.unwrap_or_else(|error| {
            self.error(error);
            Duration::ZERO
        })
    }
}

fn duration_parts(node: &Node) -> Result<Duration, String> {
    let (mut seconds, mut nanos) = (0, 0);
    for entry in node.entries() {
        let number = match &entry.value.value {
            NodeValue::Scalar { text, plain } => scalar::integer(text, *plain),
            _ => None,
        };
        let number =
            number.ok_or_else(|| format!("expected a whole number in `{}` of a duration", entry.key))?;
        match &*entry.key {
            "seconds" => seconds = number,
            "nanos" => nanos = number,
            other => return Err(format!("a duration has `seconds` and `nanos`, not `{other}`")),
        }
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if seconds <= duration::MAX_SECONDS && nanos < 1_000_000_000 => {
            Ok(Duration::new(seconds, nanos))
        }
        _ => Err("this duration is negative or too long".to_owned()),
    }
}
