//! The headers of a request, and how long its body is.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{
    BODY_DISALLOWED, CODEC_ERROR, INVALID_AUTHORITY, INVALID_CHARACTERS, LENGTH_AND_CHUNKED,
    TRANSFER_ENCODING, UNDERSCORE,
};
use crate::{
    downstream::{Refusal, ServerOptions},
    header_lines::Line,
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

/// The headers of a head, and what the codec has to know of them.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) headers: HeaderMap,
    pub(super) host: Option<HeaderValue>,
    length: Option<u64>,
    /// Whether there is a transfer coding, which then is `chunked`.
    chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

impl Fields {
    pub(super) fn read(bytes: &Bytes, lines: &[Line], options: &ServerOptions) -> Result<Self, Refusal> {
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

    pub(super) fn framing(
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
pub(super) fn read_length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
