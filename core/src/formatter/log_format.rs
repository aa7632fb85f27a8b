//! The format of a log, as `envoy.config.core.v3.SubstitutionFormatString` describes it.

use super::{FormatContext, FormatError, Formatter, JsonFormatter, Operators};
use crate::config::{DataSource, FormatterConfig, Struct, SubstitutionFormatString};

/// What an access log prints when its configuration names no format.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \
    \"%UPSTREAM_HOST%\"\n";

/// Formatter extensions whose operators are among those of this crate, so that naming them adds nothing.
const BUILT_IN_EXTENSIONS: &[&str] = &[
    "envoy.extensions.formatter.metadata.v3.Metadata",
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
];

/// The format of a log.
#[derive(Debug)]
pub enum LogFormat {
    /// Text; the format itself ends the line.
    Text(Formatter),
    /// JSON, one object a line.
    Json(JsonFormatter),
}

impl LogFormat {
    /// The format that a configuration describes.
    pub fn from_config(
        config: &SubstitutionFormatString,
        operators: &Operators,
    ) -> Result<Self, FormatError> {
        if let Some(unknown) = config.formatters.iter().find(|entry| !is_built_in(entry)) {
            let (name, type_url) = (unknown.name.clone(), unknown.typed_config.type_url());
            return Err(FormatError::Extension { name, type_url });
        }
        let omit = config.omit_empty_values;
        if let Some(source) = &config.text_format_source {
            return Self::text(&load(source)?, omit, operators);
        }
        match (&config.text_format, &config.json_format) {
            (Some(format), _) => Self::text(format, omit, operators),
            (None, Some(format)) => Self::json(format, omit, operators),
            (None, None) => Err(FormatError::Source {
                field: "format",
                message: "one of text_format_source, json_format and text_format is required".to_owned(),
            }),
        }
    }

    /// A text format.
    pub fn text(format: &str, omit_empty_values: bool, operators: &Operators) -> Result<Self, FormatError> {
        Ok(Self::Text(Formatter::parse(format, operators)?.omit_empty_values(omit_empty_values)))
    }

    /// A JSON format.
    pub fn json(
        format: &Struct,
        omit_empty_values: bool,
        operators: &Operators,
    ) -> Result<Self, FormatError> {
        JsonFormatter::parse(format, omit_empty_values, operators).map(Self::Json)
    }

    /// What an access log prints when its configuration names no format. Fails if the operators are not those of
    /// this crate.
    pub fn default_of_access_logs(operators: &Operators) -> Result<Self, FormatError> {
        Self::text(DEFAULT, false, operators)
    }

    /// The lines for a stream, ends of line included.
    pub fn format(&self, context: &FormatContext<'_>) -> String {
        match self {
            Self::Text(format) => format.format(context),
            Self::Json(format) => {
                let mut line = format.format(context);
                line.push('\n');
                line
            }
        }
    }
}

fn is_built_in(entry: &FormatterConfig) -> bool {
    BUILT_IN_EXTENSIONS.contains(&entry.typed_config.type_name())
}

fn load(source: &DataSource) -> Result<String, FormatError> {
    let error = |error: crate::config::DataSourceError| FormatError::Source {
        field: "text_format_source",
        message: error.to_string(),
    };
    source.load_text().map_err(error)
}
