//! Answers that this proxy gives itself.

mod config;
mod replies;

use std::{borrow::Cow, fmt::Write as _};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use underpass_core::stream_info::StreamInfo;

use self::replies::Draft;
pub use self::{
    config::{LocalReplyConfig, ResponseMapper},
    replies::LocalReplies,
};

use crate::{Body, RequestHead, Response, stream::HttpStream};

/// Marks an answer as one of this proxy's; it stands in the answer's extensions.
#[derive(Debug, Clone)]
pub struct LocalReply;

/// Answers a request here: notes code and details in the stream's info and makes the answer, as `local_reply_config` wants
/// it.
///
/// `details` becomes `%RESPONSE_CODE_DETAILS%`. Flags are the caller's. A gRPC request (`content-type: application/grpc…`)
/// gets its status as trailers-only answer, as in Envoy.
pub fn local_reply(
    stream: &HttpStream,
    status: StatusCode,
    body: &str,
    details: impl Into<Cow<'static, str>>,
) -> Response {
    local_reply_with_grpc_status(stream, status, body, details, None)
}

/// The same, with headers of its own.
pub fn local_reply_with_headers(
    stream: &HttpStream,
    status: StatusCode,
    body: &str,
    details: impl Into<Cow<'static, str>>,
    add: impl FnOnce(&mut HeaderMap),
) -> Response {
    make(stream, status, body, details.into(), None, add)
}

/// The same, but a gRPC request gets this status instead of the one that goes with the HTTP status.
pub fn local_reply_with_grpc_status(
    stream: &HttpStream,
    status: StatusCode,
    body: &str,
    details: impl Into<Cow<'static, str>>,
    grpc_status: Option<u32>,
) -> Response {
    make(stream, status, body, details.into(), grpc_status, |_| {})
}

fn make(
    stream: &HttpStream,
    status: StatusCode,
    body: &str,
    details: Cow<'static, str>,
    grpc_status: Option<u32>,
    add: impl FnOnce(&mut HeaderMap),
) -> Response {
    *stream.info.details.response_code_details.borrow_mut() = Some(details);
    let mut headers = HeaderMap::new();
    // Whoever answers, a route to a cluster has its say.
    if let Some(route) = stream.route().filter(|route| route.forward().is_some()) {
        route.finalize_response(&mut headers, status, &stream.request(), &stream.info);
    }
    add(&mut headers);
    let replies = stream.local_replies();
    let request = stream.request();
    reply_to(Some(&request), &stream.info, replies.as_deref(), status, headers, body, grpc_status)
}

/// Answers what did not become a request: for the connection manager, whose codec refused it, or whose patience ended.
pub fn reply_without_request(
    info: &StreamInfo,
    replies: Option<&LocalReplies>,
    status: StatusCode,
    body: &str,
) -> Response {
    reply_to(None, info, replies, status, HeaderMap::new(), body, None)
}

fn reply_to(
    request: Option<&RequestHead>,
    info: &StreamInfo,
    replies: Option<&LocalReplies>,
    status: StatusCode,
    headers: HeaderMap,
    body: &str,
    grpc_status: Option<u32>,
) -> Response {
    info.response_code.set(Some(status.as_u16()));
    let content_type = HeaderValue::from_static("text/plain");
    let mut draft = Draft { status, headers, body: Cow::Borrowed(body), content_type };
    if let Some(replies) = replies {
        replies.rewrite(&mut draft, request, info);
    }
    let mut response =
        if request.is_some_and(is_grpc) { grpc_reply(draft, grpc_status) } else { text_reply(draft) };
    info.response_code.set(Some(response.status().as_u16()));
    response.extensions_mut().insert(LocalReply);
    response
}

fn text_reply(draft: Draft<'_>) -> Response {
    let Draft { status, mut headers, body, content_type } = draft;
    if body.is_empty() {
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::CONTENT_TYPE);
    } else {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.entry(header::CONTENT_TYPE).or_insert(content_type);
    }
    let mut response = Response::new(Body::full(body.into_owned()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn grpc_reply(draft: Draft<'_>, grpc_status: Option<u32>) -> Response {
    let Draft { status, mut headers, body, content_type } = draft;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let grpc_status = || HeaderValue::from(grpc_status.unwrap_or_else(|| grpc_status_of(status)));
    headers.entry("grpc-status").or_insert_with(grpc_status);
    let message = match body.strip_suffix('\n') {
        Some(json) if content_type == "application/json" => json,
        _ => &body,
    };
    if let Ok(message) = HeaderValue::try_from(percent_encode(message))
        && !message.is_empty()
    {
        headers.insert("grpc-message", message);
    }
    headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}

/// Whether a request is one of gRPC: by its type, `application/grpc` or `application/grpc+proto`.
pub fn is_grpc(request: &RequestHead) -> bool {
    let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    request.path.is_some() && matches!(rest, Some([] | [b'+', ..]))
}

/// What a client of gRPC makes of an HTTP status
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn grpc_status_of(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The encoding of `grpc-message`
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use underpass_core::testing::TestServer;

    use super::*;
    use crate::testing;

    /// As Envoy 1.40 answers.
    #[tokio::test(flavor = "current_thread")]
    async fn a_grpc_request_gets_its_status_in_headers() {
        let server = TestServer::default();
        let reply = |kind: &str, status: u16, grpc_status| {
            let stream = testing::stream(&server, testing::request("POST", "/", &[("content-type", kind)]));
            let status = StatusCode::from_u16(status).unwrap();
            let reply = local_reply_with_grpc_status(&stream, status, "no\n100%", "why", grpc_status);
            assert_eq!(stream.info.response_code.get(), Some(reply.status().as_u16()));
            let header = |name| reply.headers().get(name).map_or("-", |value| value.to_str().unwrap());
            format!("{} {} {}", reply.status().as_u16(), header("grpc-status"), header("grpc-message"))
        };
        assert_eq!(reply("application/grpc", 503, None), "200 14 no%0A100%25");
        assert_eq!(reply("application/grpc+proto", 418, None), "200 2 no%0A100%25");
        assert_eq!(reply("application/grpc", 200, Some(7)), "200 7 no%0A100%25");
        assert_eq!(reply("application/grpc-web", 503, Some(7)), "503 - -");
    }
}
