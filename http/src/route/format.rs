//! Texts with command operators that a route makes of a request.

use underpass_core::{
    access_log::AccessLogType,
    build_context::BuildError,
    config::ConfigPath,
    formatter::{FormatContext, Formatter, Operators},
    stream_info::StreamInfo,
};

use crate::{RequestHead, message_headers::MessageHeaders};

/// Reads a text with command operators; an empty one is none.
pub(super) fn parse(text: Option<&str>, path: &ConfigPath) -> Result<Option<Formatter>, BuildError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |message: String| BuildError::at(path.clone(), message);
    let operators = operators(path)?;
    Formatter::parse(text, &operators).map(Some).map_err(|error| wrong(error.to_string()))
}

/// The operators that such texts may have.
pub(super) fn operators(path: &ConfigPath) -> Result<Operators, BuildError> {
    Operators::linked().map_err(|error| BuildError::at(path.clone(), error.to_string()))
}

/// The text for a request.
pub(super) fn of_request(formatter: &Formatter, head: &RequestHead, info: &StreamInfo) -> String {
    let headers = MessageHeaders::of_request(head);
    formatter.format(&FormatContext { info, access_log_type: AccessLogType::NotSet, headers: Some(&headers) })
}
