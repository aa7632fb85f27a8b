//! Writes the answers of HTTP/1: heads, and bodies in their framing.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use tokio::io::AsyncWrite as _;
use underpass_core::io::BoxIo;

/// How the body of an answer is marked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// There is none.
    None,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    /// The end of the connection ends it.
    UntilClose,
}

/// What an answer is the answer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestFacts {
    pub(super) is_head: bool,
    pub(super) is_connect: bool,
    pub(super) version: Version,
}

impl RequestFacts {
    pub(super) fn new(method: &Method, version: Version) -> Self {
        Self { is_head: *method == Method::HEAD, is_connect: *method == Method::CONNECT, version }
    }
}

/// Bytes that wait to be written. Small ones are copied together, large ones are kept as they are.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    waiting: usize,
}

/// Up to this size a piece of a body is copied behind what waits already.
const COPIED: usize = 4096;
/// No more of a body is asked for while so much waits.
const ENOUGH: usize = 64 * 1024;

impl WriteBuffer {
    pub(crate) fn has_enough(&self) -> bool {
        self.waiting >= ENOUGH
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Writes bytes as they are.
    pub(crate) fn put(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(data);
        self.waiting += data.len();
    }

    fn put_bytes(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            return self.put(&data);
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.waiting += data.len();
        self.pieces.push_back(data);
    }

    /// Writes until nothing waits.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut BoxIo,
        cx: &mut Context<'_>,
        mut written: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        while self.waiting > 0 {
            let n = ready!(self.poll_write(io, cx))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting -= n;
            written(n);
        }
        Pin::new(io).poll_flush(cx)
    }

    fn poll_write(&mut self, io: &mut BoxIo, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if io.takes_bytes() {
            if self.pieces.is_empty() {
                self.pieces.push_back(self.tail.split().freeze());
            }
            let Some(first) = self.pieces.front_mut() else { return Poll::Ready(Ok(0)) };
            let n = ready!(io.poll_write_bytes(cx, first))?;
            if first.is_empty() {
                self.pieces.pop_front();
            }
            return Poll::Ready(Ok(n));
        }
        if self.pieces.is_empty() {
            let n = ready!(Pin::new(io).poll_write(cx, &self.tail))?;
            self.tail.advance(n);
            return Poll::Ready(Ok(n));
        }
        let mut slices = [IoSlice::new(&[]); 16];
        let parts = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let n = ready!(Pin::new(io).poll_write_vectored(cx, &slices[..count]))?;
        self.advance(n);
        Poll::Ready(Ok(n))
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.pieces.front_mut() {
            if n < first.len() {
                return first.advance(n);
            }
            n -= first.len();
            self.pieces.pop_front();
        }
        self.tail.advance(n);
    }

    /// `100 Continue`.
    pub(super) fn put_continue(&mut self) {
        self.put(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Writes a head; says how its body has to be marked off, and how large the head is.
    pub(super) fn put_head(
        &mut self,
        response: &Response<()>,
        has_body: bool,
        request: RequestFacts,
        proper_case: bool,
    ) -> (BodyFraming, usize) {
        let before = self.tail.len();
        let status = response.status();
        let version: &[u8] = if request.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
        self.tail.put_slice(version);
        self.tail.put_slice(status.as_str().as_bytes());
        self.tail.put_u8(b' ');
        self.tail.put_slice(reason(status).as_bytes());
        self.tail.put_slice(b"\r\n");
        let headers = response.headers();
        let framing = body_framing(status, headers, has_body, request);
        for (name, value) in headers {
            // RFC 9112, section 6.3: a 2xx to CONNECT, and a 1xx, have neither length nor coding.
            let is_framing = *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING;
            let unframed = status.is_informational() || request.is_connect && status.is_success();
            // What the end of the connection ends is the last answer on it.
            let keeps_alive = *name == header::CONNECTION
                && framing == BodyFraming::UntilClose
                && value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            if *name == header::TRANSFER_ENCODING || is_framing && unframed || keeps_alive {
                continue;
            }
            self.put_name(name.as_str(), proper_case);
            self.tail.put_slice(b": ");
            self.tail.put_slice(value.as_bytes());
            self.tail.put_slice(b"\r\n");
        }
        match framing {
            BodyFraming::Chunked => {
                self.put_name("transfer-encoding", proper_case);
                self.tail.put_slice(b": chunked\r\n");
            }
            BodyFraming::None if says_zero(status, headers, has_body, request) => {
                self.put_name("content-length", proper_case);
                self.tail.put_slice(b": 0\r\n");
            }
            _ => {}
        }
        self.tail.put_slice(b"\r\n");
        let size = self.tail.len() - before;
        self.waiting += size;
        (framing, size)
    }

    /// Writes the line of a header.
    pub(crate) fn put_header(&mut self, name: &str, value: &[u8], proper_case: bool) {
        let before = self.tail.len();
        self.put_name(name, proper_case);
        self.tail.put_slice(b": ");
        self.tail.put_slice(value);
        self.tail.put_slice(b"\r\n");
        self.waiting += self.tail.len() - before;
    }

    fn put_name(&mut self, name: &str, proper_case: bool) {
        if !proper_case {
            return self.tail.put_slice(name.as_bytes());
        }
        let mut starts = true;
        for byte in name.bytes() {
            self.tail.put_u8(if starts { byte.to_ascii_uppercase() } else { byte });
            // As in Envoy: after each character that is no letter and no digit.
            starts = !byte.is_ascii_alphanumeric();
        }
    }

    /// Writes a piece of a body in its framing. False if it is more than was promised.
    pub(crate) fn put_data(&mut self, data: Bytes, framing: &mut BodyFraming) -> bool {
        if data.is_empty() {
            return true;
        }
        match framing {
            BodyFraming::None => {}
            BodyFraming::UntilClose => self.put_bytes(data),
            BodyFraming::Length(rest) => {
                let Some(less) = rest.checked_sub(data.len() as u64) else { return false };
                *rest = less;
                self.put_bytes(data);
            }
            BodyFraming::Chunked => {
                let mut line = [0_u8; 20];
                let mut rest = &mut line[..];
                // proven: sixteen hexadecimal digits and two bytes fit into twenty.
                let _ = write!(rest, "{:x}\r\n", data.len());
                let unused = rest.len();
                let used = line.len() - unused;
                self.put(&line[..used]);
                self.put_bytes(data);
                self.put(b"\r\n");
            }
        }
        true
    }

    /// Ends a body. False if less was sent than was promised.
    pub(crate) fn put_end(
        &mut self,
        trailers: Option<&HeaderMap>,
        framing: BodyFraming,
        proper_case: bool,
    ) -> bool {
        match framing {
            BodyFraming::None | BodyFraming::UntilClose => true,
            BodyFraming::Length(rest) => rest == 0,
            BodyFraming::Chunked => {
                self.put(b"0\r\n");
                let before = self.tail.len();
                for (name, value) in trailers.into_iter().flatten() {
                    self.put_name(name.as_str(), proper_case);
                    self.tail.put_slice(b": ");
                    self.tail.put_slice(value.as_bytes());
                    self.tail.put_slice(b"\r\n");
                }
                self.waiting += self.tail.len() - before;
                self.put(b"\r\n");
                true
            }
        }
    }
}

fn reason(status: StatusCode) -> &'static str {
    // Envoy's texts differ from the registry's in a few places (`source/common/http/codes.cc`).
    match status.as_u16() {
        203 => "Non-Authoritative Information",
        413 => "Payload Too Large",
        418 | 451 => "Unknown",
        599 => "Last Unassigned Server Error Code",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

fn body_framing(
    status: StatusCode,
    headers: &HeaderMap,
    has_body: bool,
    request: RequestFacts,
) -> BodyFraming {
    let bodiless = request.is_head
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || request.is_connect && status.is_success();
    if bodiless {
        return BodyFraming::None;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(length) => BodyFraming::Length(length),
        None if !has_body => BodyFraming::None,
        None if request.version == Version::HTTP_10 => BodyFraming::UntilClose,
        None => BodyFraming::Chunked,
    }
}

/// Whether an answer without a body has to say so.
fn says_zero(status: StatusCode, headers: &HeaderMap, has_body: bool, request: RequestFacts) -> bool {
    !(has_body
        || request.is_head
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || request.is_connect && status.is_success()
        || headers.contains_key(header::CONTENT_LENGTH))
}
