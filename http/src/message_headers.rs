//! The headers of a request and its answer, as formatters and filters of access logs read them.

use http::{HeaderMap, HeaderValue, StatusCode};
use underpass_core::formatter::{HeaderSizes, Headers};

use crate::RequestHead;

/// What is there of a request and its answer.
#[derive(Clone, Copy, Default)]
pub struct MessageHeaders<'a> {
    request: Option<&'a RequestHead>,
    response: Option<(StatusCode, &'a HeaderMap)>,
    response_trailers: Option<&'a HeaderMap>,
    local_reply_body: &'a str,
}

impl<'a> MessageHeaders<'a> {
    /// A request that has no answer yet.
    pub fn of_request(request: &'a RequestHead) -> Self {
        Self { request: Some(request), ..Self::default() }
    }

    /// The same with the head of the answer.
    #[must_use]
    pub fn with_response(self, status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self { response: Some((status, headers)), ..self }
    }

    /// The same with the trailers of the answer.
    #[must_use]
    pub fn with_response_trailers(self, trailers: Option<&'a HeaderMap>) -> Self {
        Self { response_trailers: trailers, ..self }
    }

    /// The same with the body of an answer that this proxy made itself.
    #[must_use]
    pub fn with_local_reply_body(self, body: &'a str) -> Self {
        Self { local_reply_body: body, ..self }
    }
}

impl Headers for MessageHeaders<'_> {
    fn request(&self, name: &str) -> Option<&str> {
        self.request?.get(name)
    }

    fn response(&self, name: &str) -> Option<&str> {
        let (status, headers) = self.response.as_ref()?;
        if name == ":status" { Some(status.as_str()) } else { text(headers.get(name)) }
    }

    fn response_trailer(&self, name: &str) -> Option<&str> {
        text(self.response_trailers?.get(name))
    }

    fn sizes(&self) -> HeaderSizes {
        let request = self.request.map_or(0, |request| {
            let pseudo = [
                (":method", request.method.as_str().len()),
                (":scheme", request.scheme.as_str().len()),
                (":authority", request.authority.len()),
                (":path", request.path().len()),
            ];
            let pseudo =
                pseudo.iter().filter(|(_, length)| *length > 0).map(|(name, length)| name.len() + length);
            pseudo.sum::<usize>() as u64 + size(&request.headers)
        });
        HeaderSizes {
            request,
            response: self.response.map_or(0, |(_, headers)| ":status200".len() as u64 + size(headers)),
            response_trailers: self.response_trailers.map_or(0, size),
        }
    }

    fn local_reply_body(&self) -> &str {
        self.local_reply_body
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}
