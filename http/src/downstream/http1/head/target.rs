//! What a request is about: the target of its request line, and who may be asked.

use bytes::Bytes;
use http::{
    HeaderValue, Method,
    uri::{PathAndQuery, Scheme, Uri},
};

use super::{CODEC_ERROR, FRAGMENT, INVALID_AUTHORITY, INVALID_URL, fields::read_length};
use crate::downstream::{Refusal, ServerOptions};

/// What a request line aims at (RFC 9112, section 3.2).
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) authority: Option<HeaderValue>,
    pub(super) path: Option<PathAndQuery>,
}

impl Target {
    pub(super) fn read(method: &Method, text: Bytes, options: &ServerOptions) -> Result<Self, Refusal> {
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
pub(super) fn checked_authority(authority: HeaderValue) -> Result<HeaderValue, Refusal> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]@!$&'()*+,;=%".contains(byte);
    if authority.as_bytes().iter().all(valid) { Ok(authority) } else { Err(INVALID_AUTHORITY) }
}
