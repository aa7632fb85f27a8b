//! Writing requests.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Method, header, uri::Scheme};
use http_body::Body as _;

use super::Broken;
use crate::{
    Body, RequestHead,
    downstream::http1::encode::{BodyFraming, WriteBuffer},
    protocol_options::Http1Settings,
    reset::{ResetReason, StreamReset},
};

/// Writes a head as Envoy does: `host` first, what marks off the body last. Says how the body is marked off, if there is
/// one.
pub(super) fn put_head(
    write: &mut WriteBuffer,
    head: &RequestHead,
    has_body: bool,
    settings: &Http1Settings,
) -> Result<Option<BodyFraming>, StreamReset> {
    let RequestHead { method, scheme, authority, path, headers, .. } = head;
    let connects = *method == Method::CONNECT;
    let path = path.as_ref().map(|path| path.as_str().as_bytes());
    write.put(method.as_str().as_bytes());
    write.put(b" ");
    match path {
        _ if connects && !authority.is_empty() => write.put(authority.as_bytes()),
        Some(path) if !connects => {
            if settings.send_fully_qualified_url {
                put_origin(write, scheme, authority.as_bytes());
            }
            write.put(path);
        }
        _ => return Err(missing_target()),
    }
    write.put(b" HTTP/1.1\r\n");
    let format = settings.proper_case_words;
    if !authority.is_empty() {
        write.put_header("host", authority.as_bytes(), format);
    }
    for (name, value) in headers {
        if *name != header::TRANSFER_ENCODING && *name != header::HOST {
            write.put_header(name.as_str(), value.as_bytes(), format);
        }
    }
    let length = length(headers);
    let framing = match length {
        Some(length) if has_body => Some(BodyFraming::Length(length)),
        None if has_body => Some(BodyFraming::Chunked),
        _ => None,
    };
    if framing == Some(BodyFraming::Chunked) {
        write.put_header("transfer-encoding", b"chunked", format);
    } else if framing.is_none() && length.is_none() && !has_no_body(method) {
        write.put_header("content-length", b"0", format);
    }
    write.put(b"\r\n");
    Ok(framing)
}

fn put_origin(write: &mut WriteBuffer, scheme: &Scheme, authority: &[u8]) {
    write.put(scheme.as_str().as_bytes());
    write.put(b"://");
    write.put(authority);
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether requests with this method have no body, which then needs no telling (Envoy,
/// `HeaderUtility::requestShouldHaveNoBody`).
fn has_no_body(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT)
}

/// The request cannot be written.
fn missing_target() -> StreamReset {
    StreamReset {
        transport_failure_reason: Some("missing_required_header".to_owned()),
        ..ResetReason::LocalReset.into()
    }
}

/// The body of a request that is being sent.
pub(super) struct Request {
    body: Body,
    framing: BodyFraming,
}

impl Request {
    pub(super) fn new(body: Body, framing: BodyFraming) -> Self {
        Self { body, framing }
    }

    /// Writes the next piece into the buffer. True if it was the last one.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut WriteBuffer,
        settings: &Http1Settings,
    ) -> Poll<Result<bool, Broken>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(_)) => return Poll::Ready(Err(Broken::Request)),
            None => None,
        };
        let (end, as_promised) = match frame.map(http_body::Frame::into_data) {
            Some(Ok(data)) => {
                let as_promised = write.put_data(data, &mut self.framing);
                (self.body.is_end_stream(), as_promised)
            }
            last => {
                let trailers = last.and_then(|frame| frame.err()?.into_trailers().ok());
                let trailers = trailers.filter(|_| settings.enable_trailers);
                return Poll::Ready(self.end(write, trailers.as_ref(), settings));
            }
        };
        if !as_promised {
            return Poll::Ready(Err(Broken::Request));
        }
        Poll::Ready(if end { self.end(write, None, settings) } else { Ok(false) })
    }

    fn end(
        &self,
        write: &mut WriteBuffer,
        trailers: Option<&HeaderMap>,
        settings: &Http1Settings,
    ) -> Result<bool, Broken> {
        let as_promised = write.put_end(trailers, self.framing, settings.proper_case_words);
        as_promised.then_some(true).ok_or(Broken::Request)
    }
}
