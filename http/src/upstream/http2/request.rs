//! A request as h2 wants it.

use bytes::Bytes;
use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    uri::{Authority, Parts, PathAndQuery},
};

use crate::{
    RequestHead,
    reset::{ResetReason, StreamReset},
};

/// A request's head.
pub(in crate::upstream) struct Encoded {
    pub(super) request: Request<()>,
    /// What an upgrade asked for, which is an extended CONNECT now (RFC 8441).
    pub(super) upgrade: Option<HeaderValue>,
}

/// Headers that are about a connection, which HTTP/2 does not have (RFC 9113, 8.2.2).
const CONNECTION_HEADERS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request's head for HTTP/2.
pub(in crate::upstream) fn encode(head: RequestHead) -> Result<Encoded, StreamReset> {
    let RequestHead { mut method, scheme, authority, path, mut headers, .. } = head;
    let connects = method == Method::CONNECT;
    let upgrade = if connects { None } else { upgrade_of(&headers) };
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te.as_bytes() != b"trailers") {
        headers.remove(header::TE);
    }
    let mut parts = Parts::default();
    if !authority.is_empty() {
        let bytes = Bytes::copy_from_slice(authority.as_bytes());
        let authority = Authority::from_maybe_shared(bytes).map_err(|_| invalid("invalid_authority"))?;
        parts.authority = Some(authority);
    }
    // h2 takes a request without an authority only if it seems to come from HTTP/1.
    let version = if parts.authority.is_some() { Version::HTTP_2 } else { Version::HTTP_11 };
    if !connects {
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        parts.scheme = parts.authority.is_some().then_some(scheme);
    }
    let uri = Uri::from_parts(parts).map_err(|_| invalid("invalid_target"))?;
    let mut request = Request::new(());
    if let Some(upgrade) = upgrade.as_ref().and_then(|upgrade| upgrade.to_str().ok()) {
        method = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(upgrade));
    }
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(Encoded { request, upgrade })
}

fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks =
        connection.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case("upgrade"));
    asks.then(|| upgrade.clone())
}

/// The request cannot be written.
fn invalid(why: &str) -> StreamReset {
    StreamReset { transport_failure_reason: Some(why.to_owned()), ..ResetReason::LocalReset.into() }
}
