//! The messages of the filter.

use serde::Deserialize;
use underpass_core::{config::NonEmptyString, matcher::RegexMatchAndSubstitute};

/// `envoy.extensions.filters.http.header_to_metadata.v3.Config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderToMetadata {
    /// For requests.
    pub request_rules: Vec<Rule>,
    /// For answers.
    pub response_rules: Vec<Rule>,
    /// What its stats are called; without, there are none.
    pub stat_prefix: String,
}

/// `Config.Rule`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// The header, or
    pub header: String,
    /// the cookie.
    pub cookie: String,
    /// What is noted if it is there.
    pub on_header_present: Option<KeyValuePair>,
    /// What is noted if it is not there.
    pub on_header_missing: Option<KeyValuePair>,
    /// Whether the header is removed.
    pub remove: bool,
}

/// `Config.KeyValuePair`.
#[derive(Debug, Deserialize)]
pub struct KeyValuePair {
    /// The namespace, by default the filter's name in Envoy.
    #[serde(default)]
    pub metadata_namespace: String,
    /// The key.
    pub key: NonEmptyString,
    /// The value, by default that of the header.
    #[serde(default)]
    pub value: String,
    /// What is made of the header's value first.
    #[serde(default)]
    pub regex_value_rewrite: Option<RegexMatchAndSubstitute>,
    /// What kind of value it is.
    #[serde(default, rename = "type")]
    pub value_type: ValueType,
    /// How it is encoded.
    #[serde(default)]
    pub encode: ValueEncode,
}

/// `Config.ValueType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueType {
    /// A text.
    #[default]
    String,
    /// A number.
    Number,
    /// A serialized `google.protobuf.Value`.
    ProtobufValue,
}

/// `Config.ValueEncode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueEncode {
    /// It is not.
    #[default]
    None,
    /// As Base64.
    Base64,
}
