//! What this proxy's own answers look like: `local_reply_config`, built.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/local_reply>

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderValue, StatusCode};
use underpass_core::{
    access_log::{AccessLogFilter, AccessLogType, parse_format},
    build_context::{BuildContext, BuildError},
    config::{ConfigPath, SubstitutionFormatString},
    formatter::{FormatContext, LogFormat},
    runtime::Runtime,
    stream_info::StreamInfo,
};

use super::config::{LocalReplyConfig, ResponseMapper};
use crate::{RequestHead, header_mutation::HeaderMutations, message_headers::MessageHeaders};

/// The changes to this proxy's own answers.
#[derive(Debug)]
pub struct LocalReplies {
    mappers: Vec<Mapper>,
    body: Option<BodyFormat>,
    runtime: Arc<Runtime>,
}

#[derive(Debug)]
struct Mapper {
    filter: AccessLogFilter,
    status: Option<StatusCode>,
    body: Option<String>,
    format: Option<BodyFormat>,
    headers: HeaderMutations,
}

#[derive(Debug)]
struct BodyFormat {
    format: LogFormat,
    content_type: HeaderValue,
}

/// An answer of this proxy's before it is one.
pub(super) struct Draft<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Cow<'a, str>,
    pub(super) content_type: HeaderValue,
}

impl LocalReplies {
    /// Builds them; `at` is where the configuration stands. Without anything to change there are none.
    pub fn build(
        config: &LocalReplyConfig,
        at: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Option<Self>, BuildError> {
        if config.mappers.is_empty() && config.body_format.is_none() {
            return Ok(None);
        }
        let body = config
            .body_format
            .as_ref()
            .map(|format| BodyFormat::build(format, &at.field("body_format"), context));
        let mappers = config.mappers.iter().enumerate();
        let mappers =
            mappers.map(|(index, mapper)| Mapper::build(mapper, &at.field("mappers").index(index), context));
        Ok(Some(Self {
            mappers: mappers.collect::<Result<_, _>>()?,
            body: body.transpose()?,
            runtime: Arc::clone(&context.server.runtime),
        }))
    }

    /// Changes an answer to a request, as far as there is one.
    pub(super) fn rewrite(&self, draft: &mut Draft<'_>, request: Option<&RequestHead>, info: &StreamInfo) {
        let runtime = self.runtime.snapshot();
        let mapper = self
            .mappers
            .iter()
            .find(|mapper| mapper.filter.passes(&context(info, &draft.seen(request)), &runtime));
        if let Some(mapper) = mapper {
            mapper.rewrite(draft, request, info);
        }
        let format = mapper.and_then(|mapper| mapper.format.as_ref()).or(self.body.as_ref());
        if let Some(BodyFormat { format, content_type }) = format {
            let body = format.format(&context(info, &draft.seen(request)));
            draft.body = Cow::Owned(body);
            draft.content_type = content_type.clone();
        }
    }
}

impl Mapper {
    fn build(
        config: &ResponseMapper,
        at: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let body = config.body.as_ref().map(|body| {
            body.load_text().map_err(|error| BuildError::at(at.field("body"), error.to_string()))
        });
        let format = config
            .body_format_override
            .as_ref()
            .map(|format| BodyFormat::build(format, &at.field("body_format_override"), context));
        let status = config.status_code.map(StatusCode::from_u16);
        Ok(Self {
            filter: config.filter.clone(),
            status: status
                .transpose()
                .map_err(|error| BuildError::at(at.field("status_code"), error.to_string()))?,
            body: body.transpose()?,
            format: format.transpose()?,
            headers: HeaderMutations::additions(&config.headers_to_add, &at.field("headers_to_add"))?,
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, request: Option<&RequestHead>, info: &StreamInfo) {
        if let Some(body) = &self.body {
            draft.body = Cow::Owned(body.clone());
        }
        match request {
            Some(request) => self.headers.apply_to_response(&mut draft.headers, draft.status, request, info),
            None => self.headers.apply(&mut draft.headers, &FormatContext::new(info, AccessLogType::NotSet)),
        }
        if let Some(status) = self.status {
            draft.status = status;
            info.response_code.set(Some(status.as_u16()));
        }
    }
}

impl BodyFormat {
    fn build(
        config: &SubstitutionFormatString,
        at: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let format = parse_format("", context, |operators| LogFormat::from_config(config, operators))
            .map_err(|error| BuildError::at(at.clone(), error.message))?;
        let content_type = match config.content_type.as_str() {
            "" if matches!(format, LogFormat::Json(_)) => HeaderValue::from_static("application/json"),
            "" => HeaderValue::from_static("text/plain"),
            given => HeaderValue::from_str(given).map_err(|_| {
                BuildError::at(at.field("content_type"), format!("{given:?} is no value of a header"))
            })?,
        };
        Ok(Self { format, content_type })
    }
}

impl Draft<'_> {
    fn seen<'a>(&'a self, request: Option<&'a RequestHead>) -> MessageHeaders<'a> {
        request
            .map_or_else(MessageHeaders::default, MessageHeaders::of_request)
            .with_response(self.status, &self.headers)
            .with_local_reply_body(&self.body)
    }
}

fn context<'a>(info: &'a StreamInfo, headers: &'a MessageHeaders<'a>) -> FormatContext<'a> {
    FormatContext { info, access_log_type: AccessLogType::NotSet, headers: Some(headers) }
}

#[cfg(test)]
mod tests;
