//! Where the parts of a head stand, and why it is none.

use std::ops::Range;

use super::{CODEC_ERROR, INVALID_CHARACTERS, LOW_VERSION, TOO_MANY};
use crate::{
    downstream::Refusal,
    header_lines::{Line, lines_of, place, with_space},
};

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

/// Where the parts of a request line stand.
pub(super) struct Scanned {
    /// The size of the whole head.
    pub(super) size: usize,
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) minor_version: u8,
}

/// Finds the parts of a head.
pub(super) fn scan(
    bytes: &[u8],
    max_headers: usize,
    lines: &mut Vec<Line>,
) -> Result<Option<Scanned>, Refusal> {
    with_space(max_headers, |space| {
        let mut request = httparse::Request::new(&mut []);
        let size = match request.parse_with_uninit_headers(bytes, space) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(refusal(error, bytes)),
        };
        let (Some(method), Some(target), Some(minor_version)) =
            (request.method, request.path, request.version)
        else {
            return Err(CODEC_ERROR);
        };
        lines.extend(lines_of(bytes, request.headers));
        let (method, target) = (place(bytes, method.as_bytes()), place(bytes, target.as_bytes()));
        Ok(Some(Scanned { size, method, target, minor_version }))
    })
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

pub(super) fn is_method(method: &[u8]) -> bool {
    METHODS.iter().any(|known| known.as_bytes() == method)
}
