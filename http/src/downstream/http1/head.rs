//! Reads the head of an HTTP/1 request: what is not plain is refused, as Envoy does or more strictly.
//!
//! What makes request smuggling is never passed on: a length beside a transfer coding, several lengths, codings other than
//! `chunked`, several hosts, white space before a colon, folded lines (RFC 9112, sections 3.2, 5.1, 6.1 and 11.2).

mod fields;
mod scan;
mod target;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version};

pub(crate) use self::fields::Framing;
use self::{
    fields::Fields,
    scan::{Scanned, is_method, scan},
    target::{Target, checked_authority},
};
use crate::{
    RequestHead,
    connection_header::{Nominated, ignore_upgrade, remove_nominated},
    downstream::{Refusal, ServerOptions},
    header_lines::Line,
};

/// A head that was read.
#[derive(Debug)]
pub(super) struct ParsedHead {
    pub(super) head: RequestHead,
    pub(super) framing: Framing,
    /// Whether the client may send another request on this connection.
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    /// Its size on the wire.
    pub(super) size: usize,
}

const CODEC_ERROR: Refusal = Refusal::bad_request("http1.codec_error");
const INVALID_CHARACTERS: Refusal = Refusal::bad_request("http1.invalid_characters");
const INVALID_URL: Refusal = Refusal::bad_request("http1.invalid_url");
const INVALID_AUTHORITY: Refusal = Refusal::bad_request("http.invalid_authority");
const BODY_DISALLOWED: Refusal = Refusal::bad_request("http1.body_disallowed");
const LENGTH_AND_CHUNKED: Refusal = Refusal::bad_request("http1.content_length_and_chunked_not_allowed");
const FRAGMENT: Refusal = Refusal::bad_request("path_normalization_failed");
const CONNECTION_HEADER: Refusal = Refusal::bad_request("http1.connection_header_rejected");
const UNDERSCORE: Refusal = Refusal::bad_request("http1.unexpected_underscore");
const LOW_VERSION: Refusal = Refusal { status: StatusCode::UPGRADE_REQUIRED, details: "low_version" };
const TRANSFER_ENCODING: Refusal =
    Refusal { status: StatusCode::NOT_IMPLEMENTED, details: "http1.invalid_transfer_encoding" };
const TOO_LARGE: Refusal =
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, details: "http1.headers_too_large" };
const TOO_MANY: Refusal =
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, details: "http1.too_many_headers" };

/// Reads heads off a buffer.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Below this many bytes there is nothing new to find, unless the head's end is among them.
    look_again_at: usize,
    searched: usize,
    lines: Vec<Line>,
}

impl HeadReader {
    /// Takes a head off the buffer; none if it is not complete.
    pub(super) fn read(
        &mut self,
        buffer: &mut BytesMut,
        options: &ServerOptions,
    ) -> Result<Option<ParsedHead>, Refusal> {
        skip_empty_lines(buffer);
        // A head that comes in small pieces is not looked at from its beginning each time.
        if buffer.is_empty() || buffer.len() < self.look_again_at && !self.end_arrived(buffer) {
            return Ok(None);
        }
        self.lines.clear();
        let Some(scanned) = scan(buffer, options.max_headers_count, &mut self.lines)? else {
            if buffer.len() > options.max_headers_bytes {
                return Err(TOO_LARGE);
            }
            self.look_again_at = buffer.len() * 2;
            return Ok(None);
        };
        if scanned.size > options.max_headers_bytes {
            return Err(TOO_LARGE);
        }
        (self.look_again_at, self.searched) = (0, 0);
        let bytes = buffer.split_to(scanned.size).freeze();
        assemble(&bytes, &scanned, &self.lines, options).map(Some)
    }

    fn end_arrived(&mut self, buffer: &[u8]) -> bool {
        let from = self.searched.saturating_sub(3);
        self.searched = buffer.len();
        let mut new = buffer.get(from..).unwrap_or_default();
        while let Some(at) = new.iter().position(|byte| *byte == b'\n') {
            new = &new[at + 1..];
            if new.starts_with(b"\n") || new.starts_with(b"\r\n") {
                return true;
            }
        }
        false
    }
}

/// Empty lines before a request line are ignored (RFC 9112, section 2.2).
pub(super) fn skip_empty_lines(buffer: &mut BytesMut) {
    let empty = buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if empty > 0 {
        let _ = buffer.split_to(empty);
    }
}

/// Makes a request of the parts of its head.
fn assemble(
    bytes: &Bytes,
    scanned: &Scanned,
    lines: &[Line],
    options: &ServerOptions,
) -> Result<ParsedHead, Refusal> {
    let version = if scanned.minor_version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    if version == Version::HTTP_10 && !options.http1.accept_http_10 {
        return Err(LOW_VERSION);
    }
    let method = &bytes[scanned.method.clone()];
    if !options.http1.allow_custom_methods && !is_method(method) {
        return Err(CODEC_ERROR);
    }
    let method = Method::from_bytes(method).map_err(|_| CODEC_ERROR)?;
    let mut fields = Fields::read(bytes, lines, options)?;
    let target = bytes.slice(scanned.target.clone());
    if !target.is_ascii() {
        return Err(CODEC_ERROR);
    }
    let target = Target::read(&method, target, options)?;
    let authority = match target.authority {
        Some(authority) => authority,
        None => match fields.host.take() {
            Some(host) => checked_authority(host)?,
            None if version == Version::HTTP_10 => {
                options.http1.default_host_for_http_10.clone().unwrap_or(HeaderValue::from_static(""))
            }
            None => HeaderValue::from_static(""),
        },
    };
    ignore_upgrade(&mut fields.headers, &options.http1.ignore_http_11_upgrade);
    let authority = match remove_nominated(&mut fields.headers) {
        Nominated::Removed => authority,
        Nominated::HostToo => HeaderValue::from_static(""),
        Nominated::Refused => return Err(CONNECTION_HEADER),
    };
    let framing = fields.framing(&method, version, options)?;
    let keep_alive = if version == Version::HTTP_10 { fields.keep_alive } else { !fields.close };
    let head = RequestHead {
        method,
        scheme: target.scheme,
        authority,
        path: target.path,
        headers: fields.headers,
        version,
    };
    let expects_continue = fields.expects_continue && version == Version::HTTP_11;
    Ok(ParsedHead { head, framing, keep_alive, expects_continue, size: scanned.size })
}

#[cfg(test)]
mod tests;
