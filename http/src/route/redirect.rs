//! Sending a client elsewhere.

use std::borrow::Cow;

use http::StatusCode;

use super::{domains::port_start, matching::without_query, rewrite::PathRewrite};
use crate::RequestHead;

/// A redirect.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// The status.
    pub status: StatusCode,
    pub(super) scheme: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u32>,
    pub(super) path: PathRedirect,
    pub(super) strip_query: bool,
}

/// What becomes of the path.
#[derive(Debug, Clone)]
pub(super) enum PathRedirect {
    Keep,
    /// This, with its own query if it has one.
    Path {
        path: String,
        has_query: bool,
    },
    Rewrite(PathRewrite),
}

impl Redirect {
    /// A redirect to the same place by https, for virtual hosts that require TLS.
    pub(super) fn to_tls() -> Self {
        Self {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: Some("https".to_owned()),
            host: None,
            port: None,
            path: PathRedirect::Keep,
            strip_query: false,
        }
    }

    /// The `location` of the answer.
    pub fn location(&self, head: &RequestHead) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme.as_str());
        let host = self.host.as_deref().unwrap_or(head.authority());
        let request_port = port_start(host).filter(|_| self.host.is_none());
        let (host, old_port) = match request_port {
            // A port that is the old scheme's own does not go along to another scheme.
            Some(colon) => (&host[..colon], &host[colon..]),
            None => (host, ""),
        };
        let port = match self.port {
            Some(port) => format!(":{port}"),
            None if self.scheme.is_some()
                && matches!((head.scheme.as_str(), old_port), ("http", ":80") | ("https", ":443")) =>
            {
                String::new()
            }
            None => old_port.to_owned(),
        };
        let path = self.new_path(head.path());
        format!("{scheme}://{host}{port}{path}")
    }

    fn new_path<'a>(&'a self, old: &'a str) -> Cow<'a, str> {
        match &self.path {
            PathRedirect::Path { path, has_query } => {
                let query =
                    if *has_query || self.strip_query { "" } else { &old[without_query(old).len()..] };
                format!("{path}{query}").into()
            }
            PathRedirect::Rewrite(rewrite) => {
                rewrite.rewrite(if self.strip_query { without_query(old) } else { old }).into()
            }
            PathRedirect::Keep if self.strip_query => without_query(old).into(),
            PathRedirect::Keep => old.into(),
        }
    }
}
