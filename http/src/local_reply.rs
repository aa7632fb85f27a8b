//! Answers that this proxy gives itself.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};

use crate::{Body, Response, stream::HttpStream};

/// Marks an answer as one of this proxy's, for `local_reply_config`; it stands in the answer's extensions.
#[derive(Debug, Clone)]
pub struct LocalReply;

/// Answers a request here: notes code and details in the stream's info and makes the answer.
///
/// `details` becomes `%RESPONSE_CODE_DETAILS%`. Flags are the caller's. A gRPC request (`content-type: application/grpc…`)
/// gets its status as trailers-only answer, as in Envoy.
pub fn local_reply(
    stream: &HttpStream,
    status: StatusCode,
    body: &str,
    details: impl Into<Cow<'static, str>>,
) -> Response {
    stream.info.response_code.set(Some(status.as_u16()));
    *stream.info.response_code_details.borrow_mut() = Some(details.into());
    let mut response = Response::new(Body::full(body.to_owned()));
    *response.status_mut() = status;
    if !body.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response.extensions_mut().insert(LocalReply);
    response
}
