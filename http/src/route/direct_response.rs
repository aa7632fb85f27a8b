//! An answer that a route gives itself.

use bytes::Bytes;
use http::StatusCode;
use underpass_core::{
    access_log::AccessLogType,
    build_context::BuildError,
    config::{ConfigPath, SubstitutionFormatString},
    formatter::{FormatContext, LogFormat},
    stream_info::StreamInfo,
};

use super::{config, format};
use crate::{RequestHead, message_headers::MessageHeaders};

/// An answer from here.
#[derive(Debug)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    body: Bytes,
    format: Option<BodyFormat>,
}

#[derive(Debug)]
struct BodyFormat {
    format: LogFormat,
    content_type: String,
}

impl DirectResponse {
    /// `max_body` is how long the body may be, before it is formatted.
    pub(super) fn build(
        config: &config::DirectResponseAction,
        path: &ConfigPath,
        max_body: usize,
    ) -> Result<Self, BuildError> {
        let body = match &config.body {
            None => Bytes::new(),
            Some(source) => {
                let wrong = |message: String| BuildError::at(path.field("body"), message);
                let body = source.load().map_err(|error| wrong(error.to_string()))?;
                if body.len() > max_body {
                    let message =
                        format!("response body size is {} bytes; maximum is {max_body}", body.len());
                    return Err(wrong(message));
                }
                body.into()
            }
        };
        let status = StatusCode::from_u16(config.status)
            .map_err(|_| BuildError::at(path.field("status"), "a status has three digits"))?;
        let format = config.body_format.as_ref();
        let format =
            format.map(|config| BodyFormat::build(config, &path.field("body_format"))).transpose()?;
        Ok(Self { status, body, format })
    }

    /// The body for a request.
    pub fn body(&self, head: &RequestHead, info: &StreamInfo) -> Bytes {
        let Some(format) = &self.format else { return self.body.clone() };
        let body = String::from_utf8_lossy(&self.body);
        let headers = MessageHeaders::of_request(head).with_local_reply_body(&body);
        let context = FormatContext { info, access_log_type: AccessLogType::NotSet, headers: Some(&headers) };
        format.format.format(&context).into()
    }

    /// The media type of the body, where it has a format of its own.
    pub fn content_type(&self) -> Option<&str> {
        self.format.as_ref().map(|format| format.content_type.as_str())
    }

    /// As in Envoy, an answer that should have a location gets the one of the request.
    pub(super) fn location(&self, head: &RequestHead) -> Option<String> {
        let wanted = self.status == StatusCode::CREATED || self.status.is_redirection();
        wanted.then(|| format!("{}://{}{}", head.scheme, head.authority(), head.path()))
    }
}

impl BodyFormat {
    fn build(config: &SubstitutionFormatString, path: &ConfigPath) -> Result<Self, BuildError> {
        let format = LogFormat::from_config(config, &format::operators(path)?)
            .map_err(|error| BuildError::at(path.clone(), error.to_string()))?;
        let content_type = match (&format, config.content_type.as_str()) {
            (LogFormat::Text(_), "") => "text/plain",
            (LogFormat::Json(_), "") => "application/json",
            (_, given) => given,
        };
        Ok(Self { content_type: content_type.to_owned(), format })
    }
}
