//! How a gRPC stream ended.

use std::fmt;

use http::{HeaderMap, StatusCode};
use underpass_http::reset::StreamReset;

/// A gRPC status code, whatever number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u16);

impl Code {
    pub const OK: Self = Self(0);
    pub const UNKNOWN: Self = Self(2);
    pub const PERMISSION_DENIED: Self = Self(7);
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    pub const UNIMPLEMENTED: Self = Self(12);
    pub const INTERNAL: Self = Self(13);
    pub const UNAVAILABLE: Self = Self(14);
    pub const UNAUTHENTICATED: Self = Self(16);
}

/// A code and what is said of it. Prints as `14, no healthy upstream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Status {
    /// Everything is well.
    pub fn ok() -> Self {
        Self { code: Code::OK, message: String::new() }
    }

    /// What gRPC makes of a response that ends without a status.
    pub fn without_trailers() -> Self {
        Self { code: Code::UNKNOWN, message: "the stream ended without a status".to_owned() }
    }

    /// The status in trailers, or in the head of a response that has nothing else.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let code = text("grpc-status")?.parse().map_or(Code::UNKNOWN, Code);
        Some(Self { code, message: percent_decoded(text("grpc-message").unwrap_or_default()) })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.code.0, self.message)
    }
}

impl From<&StreamReset> for Status {
    fn from(reset: &StreamReset) -> Self {
        let why = reset.transport_failure_reason.as_ref();
        let why = why.map(|why| format!(", transport failure reason: {why}")).unwrap_or_default();
        let message =
            format!("upstream connect error or disconnect/reset before headers. reset reason: {reset}{why}");
        Self { code: Code::UNAVAILABLE, message }
    }
}

impl From<StatusCode> for Status {
    /// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
    fn from(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => Code::INTERNAL,
            401 => Code::UNAUTHENTICATED,
            403 => Code::PERMISSION_DENIED,
            404 => Code::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Code::UNAVAILABLE,
            _ => Code::UNKNOWN,
        };
        Self { code, message: format!("the server answers with HTTP status {status}") }
    }
}

/// gRPC messages are percent-encoded; what is no code stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let decoded = code.filter(|_| byte == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(code: &'static str, message: &'static str) -> HeaderMap {
        [("grpc-status", code), ("grpc-message", message)]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_status_is_read_from_trailers() {
        let status = Status::of(&trailers("7", "not%20you, %C3%A4 100%")).unwrap();
        assert_eq!(status.to_string(), "7, not you, ä 100%");
        assert_eq!(Status::of(&trailers("x", "")).unwrap().code, Code::UNKNOWN);
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }

    #[test]
    fn an_http_status_stands_for_a_code() {
        assert_eq!(Status::from(StatusCode::SERVICE_UNAVAILABLE).code, Code::UNAVAILABLE);
        assert_eq!(Status::from(StatusCode::NOT_FOUND).code, Code::UNIMPLEMENTED);
    }
}
