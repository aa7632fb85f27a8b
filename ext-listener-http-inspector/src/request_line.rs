//! What the first bytes of a stream are: the preface of HTTP/2, a request line of HTTP/1, or neither.
//!
//! What counts as a request line is what Envoy's parser takes for one (`source/common/http/http1/balsa_parser.cc`), which is
//! less than RFC 9112 wants; the tests hold what Envoy 1.40 said of many lines.

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a stream begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// A request.
    Http(Version),
    /// Something else.
    Other,
}

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Everything that is none of the others.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// What these bytes begin with; `None` if more are needed to tell.
pub(crate) fn look_at(bytes: &[u8]) -> Option<Beginning> {
    if bytes.starts_with(PREFACE) {
        return Some(Beginning::Http(Version::Http2));
    }
    if PREFACE.starts_with(bytes) {
        return None;
    }
    if !bytes.first().copied().is_some_and(is_token) {
        return Some(Beginning::Other);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some(version(&bytes[..end]).map_or(Beginning::Other, Beginning::Http))
}

/// The version of a request line, if it is one.
fn version(line: &[u8]) -> Option<Version> {
    let (method, rest) = word(line);
    let (target, rest) = word(rest);
    if !method.iter().copied().all(is_token) || !is_target(target, method == b"CONNECT") {
        return None;
    }
    match trim_end(rest) {
        b"HTTP/1.1" => Some(Version::Http11),
        b"" => Some(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            (major.is_ascii_digit() && minor.is_ascii_digit()).then_some(Version::Http10)
        }
        _ => None,
    }
}

/// The first word, and what follows without its leading spaces. Every control character is a space here.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| is_space(*byte)).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let start = rest.iter().position(|byte| !is_space(*byte)).unwrap_or(rest.len());
    (word, &rest[start..])
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &line[..end]
}

fn is_space(byte: u8) -> bool {
    byte <= b' '
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A path, an asterisk, a URL, or for CONNECT a host.
fn is_target(target: &[u8], connect: bool) -> bool {
    let visible = |text: &[u8]| text.iter().all(u8::is_ascii_graphic);
    if let [b'/' | b'*', rest @ ..] = target {
        return visible(rest);
    }
    let after_scheme = if connect { Some(target) } else { after_scheme(target) };
    let Some(rest) = after_scheme.filter(|_| !target.is_empty()) else { return false };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    host.iter().copied().all(is_host) && !host.windows(2).any(|two| two == b"@@") && visible(path)
}

/// What follows `scheme://`.
fn after_scheme(url: &[u8]) -> Option<&[u8]> {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let end = url.iter().position(|byte| !is_scheme(byte)).unwrap_or(url.len());
    if !url.first()?.is_ascii_alphabetic() {
        return None;
    }
    url[end..].strip_prefix(b"://")
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=@[]_~".contains(&byte)
}
