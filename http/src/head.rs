//! The head of a request: what the request line and the headers say, in one form for HTTP/1 and HTTP/2.
//!
//! As in Envoy, what is a pseudo-header in HTTP/2 is one here too, also for HTTP/1: `:authority` is the `Host` header or the
//! target of a CONNECT. An upgrade has the form of HTTP/1 (`upgrade: websocket`, `connection: upgrade`), also if it came as
//! an extended CONNECT (RFC 8441).

use http::{
    HeaderMap, HeaderValue, Method, Version,
    uri::{PathAndQuery, Scheme},
};

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// `:method`.
    pub method: Method,
    /// `:scheme`.
    pub scheme: Scheme,
    /// `:authority`, as it was sent: empty if there was none. `headers` holds no `host`.
    pub authority: HeaderValue,
    /// `:path`; none for CONNECT.
    pub path: Option<PathAndQuery>,
    /// All other headers.
    pub headers: HeaderMap,
    /// What the client speaks.
    pub version: Version,
}

impl RequestHead {
    /// The authority as text; empty if it is none.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The path with its query; empty for CONNECT.
    pub fn path(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::as_str)
    }

    /// A header or pseudo-header by its lower-case name, as text. Of several, the first.
    pub fn get(&self, name: &str) -> Option<&str> {
        match name {
            ":method" => Some(self.method.as_str()),
            ":scheme" => Some(self.scheme.as_str()),
            ":authority" | "host" => Some(self.authority()).filter(|authority| !authority.is_empty()),
            ":path" => self.path.as_ref().map(PathAndQuery::as_str),
            _ => self.headers.get(name).and_then(|value| value.to_str().ok()),
        }
    }

    /// Whether it is a CONNECT. (An extended CONNECT has become a GET with an `upgrade` header.)
    pub fn is_connect(&self) -> bool {
        self.method == Method::CONNECT
    }
}
