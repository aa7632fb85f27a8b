//! Reads the head of an HTTP/1 request: what is not plain is refused, as Envoy does or more strictly.
//!
//! What makes request smuggling is never passed on: a length beside a transfer coding, several lengths, codings other than
//! `chunked`, several hosts, white space before a colon, folded lines (RFC 9112, sections 3.2, 5.1, 6.1 and 11.2).

use std::{mem::MaybeUninit, ops::Range};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header,
    uri::{PathAndQuery, Scheme, Uri},
};

use crate::{
    RequestHead,
    connection_header::{Nominated, ignore_upgrade, remove_nominated},
    downstream::{Refusal, ServerOptions},
    protocol_options::HeadersWithUnderscoresAction,
};

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// As many as its chunks.
    Chunked,
}

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

/// Envoy's list (`source/common/http/http1/balsa_parser.cc`).
const METHODS: [&str; 35] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "CONNECT",
    "PATCH",
    "TRACE",
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "M-SEARCH",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// How many headers are read without asking for memory.
const USUAL_HEADERS: usize = 100;

/// Reads heads off a buffer.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Below this many bytes there is nothing new to find, unless the head's end is among them.
    look_again_at: usize,
    searched: usize,
    lines: Vec<Line>,
}

/// Where a header stands in its head.
#[derive(Debug, Clone)]
struct Line {
    name: Range<usize>,
    value: Range<usize>,
}

/// Where the parts of a request line stand.
struct Scanned {
    size: usize,
    method: Range<usize>,
    target: Range<usize>,
    minor_version: u8,
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

/// Finds the parts of a head.
fn scan(bytes: &[u8], max_headers: usize, lines: &mut Vec<Line>) -> Result<Option<Scanned>, Refusal> {
    let mut few = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut many = Vec::new();
    let space = if max_headers <= USUAL_HEADERS {
        &mut few[..max_headers]
    } else {
        many.resize_with(max_headers, MaybeUninit::uninit);
        &mut many[..]
    };
    let mut request = httparse::Request::new(&mut []);
    let size = match request.parse_with_uninit_headers(bytes, space) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error, bytes)),
    };
    let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version)
    else {
        return Err(CODEC_ERROR);
    };
    let start = bytes.as_ptr().addr();
    let place = |part: &[u8]| {
        let from = part.as_ptr().addr() - start;
        from..from + part.len()
    };
    lines.extend(
        request
            .headers
            .iter()
            .map(|header| Line { name: place(header.name.as_bytes()), value: place(header.value) }),
    );
    let (method, target) = (place(method.as_bytes()), place(target.as_bytes()));
    Ok(Some(Scanned { size, method, target, minor_version }))
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY,
        httparse::Error::HeaderValue => INVALID_CHARACTERS,
        _ if has_other_version(bytes) => LOW_VERSION,
        _ if has_control_in_target(bytes) => INVALID_CHARACTERS,
        _ => CODEC_ERROR,
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Whether a request line is right but for its version, which may also be missing (HTTP/0.9).
fn has_other_version(bytes: &[u8]) -> bool {
    let line = first_line(bytes);
    let words: Vec<&[u8]> = line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b' ').collect();
    match words[..] {
        [method, target] => is_method(method) && !target.is_empty(),
        [method, _, version] => {
            let number = version.strip_prefix(b"HTTP/");
            let is_number = number.is_some_and(
                |number| matches!(number, [a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit()),
            );
            is_method(method) && is_number && !matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
        }
        _ => false,
    }
}

fn has_control_in_target(bytes: &[u8]) -> bool {
    let line = first_line(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    is_method(method) && line[method.len()..].iter().any(u8::is_ascii_control)
}

fn is_method(method: &[u8]) -> bool {
    METHODS.iter().any(|known| known.as_bytes() == method)
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

/// The headers of a head, and what the codec has to know of them.
#[derive(Default)]
struct Fields {
    headers: HeaderMap,
    host: Option<HeaderValue>,
    length: Option<u64>,
    /// Whether there is a transfer coding, which then is `chunked`.
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Fields {
    fn read(bytes: &Bytes, lines: &[Line], options: &ServerOptions) -> Result<Self, Refusal> {
        let mut fields = Self { headers: HeaderMap::with_capacity(lines.len() + 8), ..Self::default() };
        for line in lines {
            let name = &bytes[line.name.clone()];
            if options.underscores != HeadersWithUnderscoresAction::Allow && name.contains(&b'_') {
                if options.underscores == HeadersWithUnderscoresAction::DropHeader {
                    options.stats.http1.dropped_headers_with_underscores.inc();
                    continue;
                }
                options.stats.http1.requests_rejected_with_underscores_in_headers.inc();
                return Err(UNDERSCORE);
            }
            let name = HeaderName::from_bytes(name).map_err(|_| CODEC_ERROR)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(line.value.clone()))
                .map_err(|_| INVALID_CHARACTERS)?;
            fields.note(name, value)?;
        }
        Ok(fields)
    }

    fn note(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Refusal> {
        match name {
            header::HOST => {
                // Envoy joins several hosts with a comma; nobody who is honest sends them.
                return if self.host.replace(value).is_none() { Ok(()) } else { Err(INVALID_AUTHORITY) };
            }
            header::CONTENT_LENGTH => {
                let length = read_length(value.as_bytes()).ok_or(CODEC_ERROR)?;
                if self.length.replace(length).is_some() {
                    return Err(CODEC_ERROR);
                }
            }
            header::TRANSFER_ENCODING => {
                if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(TRANSFER_ENCODING);
                }
                self.chunked = true;
            }
            header::CONNECTION => self.note_connection(&value),
            _ if name == "proxy-connection" => self.note_connection(&value),
            header::EXPECT => self.expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        self.headers.append(name, value);
        Ok(())
    }

    fn note_connection(&mut self, value: &HeaderValue) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn framing(
        &mut self,
        method: &Method,
        version: Version,
        options: &ServerOptions,
    ) -> Result<Framing, Refusal> {
        if *method == Method::CONNECT {
            return match (self.chunked, self.length) {
                (true, _) => Err(TRANSFER_ENCODING),
                (false, Some(1..)) => Err(BODY_DISALLOWED),
                _ => Ok(Framing::None),
            };
        }
        match (self.chunked, self.length) {
            // RFC 9112, section 6.1: what HTTP/1.0 means by a transfer coding is not to be trusted.
            (true, _) if version == Version::HTTP_10 => Err(TRANSFER_ENCODING),
            (true, Some(_)) if !options.http1.allow_chunked_length => Err(LENGTH_AND_CHUNKED),
            (true, _) => {
                self.headers.remove(header::CONTENT_LENGTH);
                Ok(Framing::Chunked)
            }
            (false, Some(0) | None) => Ok(Framing::None),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// Digits only (RFC 9110, section 8.6).
fn read_length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// What a request line aims at (RFC 9112, section 3.2).
struct Target {
    scheme: Scheme,
    authority: Option<HeaderValue>,
    path: Option<PathAndQuery>,
}

impl Target {
    fn read(method: &Method, text: Bytes, options: &ServerOptions) -> Result<Self, Refusal> {
        if *method == Method::CONNECT {
            let port = text.iter().rposition(|byte| *byte == b':').map(|at| &text[at + 1..]);
            let port = port.and_then(read_length).and_then(|port| u16::try_from(port).ok());
            // A host there must be, and user information there must not be (RFC 9110, section 9.3.6).
            if port.is_none() || text.starts_with(b":") || text.contains(&b'@') {
                return Err(INVALID_URL);
            }
            let authority = HeaderValue::from_maybe_shared(text).map_err(|_| INVALID_URL)?;
            let authority = checked_authority(authority).map_err(|_| INVALID_URL)?;
            return Ok(Self { scheme: Scheme::HTTP, authority: Some(authority), path: None });
        }
        if text.starts_with(b"/") || &text[..] == b"*" {
            if text.contains(&b'#') {
                return Err(FRAGMENT);
            }
            let path = PathAndQuery::from_maybe_shared(text).map_err(|_| CODEC_ERROR)?;
            return Ok(Self { scheme: Scheme::HTTP, authority: None, path: Some(path) });
        }
        if !options.http1.allow_absolute_url {
            return Err(CODEC_ERROR);
        }
        let url = Uri::from_maybe_shared(text).map_err(|_| CODEC_ERROR)?.into_parts();
        let scheme = url.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let (Some(scheme), Some(authority)) = (scheme, url.authority) else { return Err(CODEC_ERROR) };
        // User information is not sent on, as in Envoy.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let authority = HeaderValue::from_str(host).map_err(|_| INVALID_URL)?;
        let path = match url.path_and_query {
            None => PathAndQuery::from_static("/"),
            Some(path) if path.as_str().starts_with('/') => path,
            Some(query) => PathAndQuery::try_from(format!("/{}", query.as_str())).map_err(|_| CODEC_ERROR)?,
        };
        Ok(Self { scheme, authority: Some(checked_authority(authority)?), path: Some(path) })
    }
}

/// What may stand in an authority, as in Envoy (`HeaderUtility::authorityIsValid`).
pub(crate) fn checked_authority(authority: HeaderValue) -> Result<HeaderValue, Refusal> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]@!$&'()*+,;=%".contains(byte);
    if authority.as_bytes().iter().all(valid) { Ok(authority) } else { Err(INVALID_AUTHORITY) }
}

#[cfg(test)]
mod tests;
