//! Headers to add (`envoy/config/core/v3/base.proto`).

use serde::Deserialize;

use crate::config::{ByteString, NonEmptyString};

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HeaderValue {
    /// The name.
    pub key: NonEmptyString,
    /// The value, perhaps with command operators in it.
    #[serde(default)]
    pub value: String,
    /// The value, where it is no text.
    #[serde(default)]
    pub raw_value: ByteString,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HeaderValueOption {
    /// The header.
    pub header: HeaderValue,
    /// The old way to say `append_action`.
    #[serde(default)]
    pub append: Option<bool>,
    /// What happens if the header is there already.
    #[serde(default)]
    pub append_action: AppendAction,
    /// Whether a header without a value is added.
    #[serde(default)]
    pub keep_empty_value: bool,
}

/// `HeaderValueOption.HeaderAppendAction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AppendAction {
    /// Adds a value.
    #[default]
    AppendIfExistsOrAdd,
    /// Leaves the present value.
    AddIfAbsent,
    /// Replaces the present value.
    OverwriteIfExistsOrAdd,
    /// Replaces a present value, and adds none.
    OverwriteIfExists,
}
