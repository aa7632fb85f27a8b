//! Formats of log lines and the like (`envoy/config/core/v3/substitution_format_string.proto`).

use serde::Deserialize;

use super::DataSource;
use crate::config::{RawTypedConfig, Struct};

/// `envoy.config.core.v3.SubstitutionFormatString`: a text or a JSON structure with command operators in it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SubstitutionFormatString {
    /// The old way to write `text_format_source.inline_string`.
    pub text_format: Option<String>,
    /// A structure whose texts hold command operators.
    pub json_format: Option<Struct>,
    /// A text with command operators.
    pub text_format_source: Option<DataSource>,
    /// Leaves out what has no value, instead of printing `-` or `null`.
    pub omit_empty_values: bool,
    /// The media type, where the text becomes a body.
    pub content_type: String,
    /// Further command operators, by extensions.
    pub formatters: Vec<FormatterConfig>,
    /// How JSON is printed.
    pub json_format_options: Option<JsonFormatOptions>,
}

/// One of the `formatters`, kept as it was written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FormatterConfig {
    /// What the user calls it.
    #[serde(default)]
    pub name: String,
    /// What it is.
    pub typed_config: RawTypedConfig,
}

/// `envoy.config.core.v3.JsonFormatOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JsonFormatOptions {
    /// Prints the properties sorted by name.
    pub sort_properties: bool,
}
