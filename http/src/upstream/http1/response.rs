//! Reading the heads of answers.
//!
//! An answer that contradicts itself about its length is an error, since a wrong choice is what smuggled answers are made
//! of (RFC 9112, 6.3 and 11.1).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::RequestFacts;
use crate::{
    header_lines::{Line, lines_of, with_space},
    protocol_options::ClusterProtocolOptions,
};

/// The head of an answer.
pub(super) struct ResponseHead {
    pub(super) response: Response<()>,
    pub(super) length: Length,
    /// Whether the connection may carry another request.
    pub(super) keep_alive: bool,
}

/// How long the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    None,
    /// So many bytes.
    Bytes(u64),
    /// As many as its chunks.
    Chunked,
    /// The end of the connection ends it.
    UntilClose,
}

/// Reads heads off a buffer.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    lines: Vec<Line>,
}

/// What a status line says.
struct StatusLine {
    /// The size of the whole head.
    size: usize,
    status: StatusCode,
    version: Version,
}

impl HeadReader {
    /// Takes a head off the buffer; none if it is not complete.
    pub(super) fn read(
        &mut self,
        buffer: &mut BytesMut,
        request: RequestFacts,
        options: &ClusterProtocolOptions,
    ) -> Result<Option<ResponseHead>, ()> {
        let max_bytes = options.common.max_response_headers_bytes;
        // One that comes in small pieces is not looked at from its beginning each time.
        if buffer.len() <= max_bytes && !may_be_complete(buffer) {
            return Ok(None);
        }
        self.lines.clear();
        let scanned = match scan(buffer, options.common.max_headers_count, &mut self.lines)? {
            Some(scanned) if scanned.size <= max_bytes => scanned,
            None if buffer.len() <= max_bytes => return Ok(None),
            _ => return Err(()),
        };
        let bytes = buffer.split_to(scanned.size).freeze();
        assemble(&bytes, &self.lines, &scanned, request, options).map(Some)
    }
}

/// Whether an empty line is among what was read, or at its end.
fn may_be_complete(buffer: &[u8]) -> bool {
    buffer.ends_with(b"\n") || buffer.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Finds the parts of a head.
fn scan(bytes: &[u8], max_headers: usize, lines: &mut Vec<Line>) -> Result<Option<StatusLine>, ()> {
    with_space(max_headers, |space| {
        let mut parsed = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let size = match parser.parse_response_with_uninit_headers(&mut parsed, bytes, space) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(()) };
        lines.extend(lines_of(bytes, parsed.headers));
        let status = StatusCode::from_u16(code).map_err(drop)?;
        let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        Ok(Some(StatusLine { size, status, version }))
    })
}

fn assemble(
    bytes: &Bytes,
    lines: &[Line],
    scanned: &StatusLine,
    request: RequestFacts,
    options: &ClusterProtocolOptions,
) -> Result<ResponseHead, ()> {
    let mut headers = HeaderMap::with_capacity(lines.len() + 4);
    let mut facts = Facts::default();
    let StatusLine { status, version, .. } = *scanned;
    for line in lines {
        let name = HeaderName::from_bytes(&bytes[line.name.clone()]).map_err(drop)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(line.value.clone())).map_err(drop)?;
        facts.note(&name, &value);
        headers.append(name, value);
    }
    let length = facts.length(status, request, options.http1.allow_chunked_length)?;
    if facts.chunked && facts.lengths > 0 && length == Length::Chunked {
        headers.remove(header::CONTENT_LENGTH);
    }
    let keep_alive = match version {
        Version::HTTP_10 => facts.keep_alive,
        _ => !facts.close,
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(ResponseHead { response, length, keep_alive })
}

/// What headers say of body and connection.
#[derive(Debug, Default)]
struct Facts {
    /// How many there are, and the last of them if it is a number.
    lengths: usize,
    bytes: Option<u64>,
    /// Whether there is a transfer coding, and whether it is another than `chunked`.
    chunked: bool,
    other_coding: bool,
    close: bool,
    keep_alive: bool,
}

impl Facts {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        let value = value.as_bytes();
        if *name == header::CONTENT_LENGTH {
            self.lengths += 1;
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(value).ok().filter(|_| digits);
            self.bytes = text.and_then(|text| text.parse().ok());
        } else if *name == header::TRANSFER_ENCODING {
            self.other_coding |= self.chunked || !value.eq_ignore_ascii_case(b"chunked");
            self.chunked = true;
        } else if *name == header::CONNECTION || name.as_str() == "proxy-connection" {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }

    /// RFC 9112, 6.3.
    fn length(
        &self,
        status: StatusCode,
        request: RequestFacts,
        allow_chunked_length: bool,
    ) -> Result<Length, ()> {
        if request.is_connect && status.is_success() {
            // Whatever it says is of no meaning (RFC 9110, 9.3.6).
            return Ok(Length::None);
        }
        let contradictory = self.chunked && self.lengths > 0 && !allow_chunked_length;
        if self.other_coding || self.lengths > 1 || contradictory || self.lengths == 1 && self.bytes.is_none()
        {
            return Err(());
        }
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            let has_body = self.chunked || self.bytes.is_some_and(|bytes| bytes > 0);
            return if has_body { Err(()) } else { Ok(Length::None) };
        }
        Ok(match self.bytes {
            _ if request.is_head || status == StatusCode::NOT_MODIFIED => Length::None,
            _ if self.chunked => Length::Chunked,
            Some(0) => Length::None,
            Some(bytes) => Length::Bytes(bytes),
            None => Length::UntilClose,
        })
    }
}
