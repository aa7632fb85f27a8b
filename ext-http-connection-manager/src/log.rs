//! What the access log sees of an exchange.

use http::{HeaderMap, StatusCode};
use underpass_core::{access_log::AccessLogType, formatter::FormatContext};
use underpass_http::message_headers::MessageHeaders;

use crate::exchange::Exchange;

/// The head and the trailers of an answer, kept for the log.
#[derive(Default)]
pub(crate) struct LoggedAnswer {
    pub(crate) head: Option<(StatusCode, HeaderMap)>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) local_body: String,
}

impl Exchange {
    /// Writes an entry, if anybody wants one.
    pub(crate) fn log(&self, moment: AccessLogType) {
        let logs = &self.connection().settings.logs;
        if logs.is_empty() {
            return;
        }
        let answer = self.logged_answer();
        let request = self.stream().map(|stream| stream.request());
        let mut headers = request.as_deref().map_or_else(MessageHeaders::default, MessageHeaders::of_request);
        if let Some((status, fields)) = &answer.head {
            headers = headers.with_response(*status, fields);
        }
        let headers = headers
            .with_response_trailers(answer.trailers.as_ref())
            .with_local_reply_body(&answer.local_body);
        logs.log(&FormatContext { headers: Some(&headers), ..FormatContext::new(self.info(), moment) });
    }
}
