//! Sending a client elsewhere.

use std::borrow::Cow;

use http::StatusCode;
use underpass_core::{
    build_context::BuildError, config::ConfigPath, formatter::Formatter, stream_info::StreamInfo,
};

use super::{
    config::{RedirectAction, RedirectResponseCode},
    domains::port_start,
    format,
    matching::{PathMatcher, without_query},
    rewrite::PathRewrite,
};
use crate::RequestHead;

/// A redirect.
#[derive(Debug)]
pub struct Redirect {
    /// The status.
    pub status: StatusCode,
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u32>,
    path: PathRedirect,
    strip_query: bool,
}

/// What becomes of the path.
#[derive(Debug)]
enum PathRedirect {
    Keep,
    /// It is replaced, and a query with it if the new path has one.
    Path(String),
    Format(Formatter),
    /// A part of it is replaced.
    Rewrite(PathRewrite),
}

impl Redirect {
    pub(super) fn build(
        config: &RedirectAction,
        matcher: &PathMatcher,
        path: &ConfigPath,
    ) -> Result<Self, BuildError> {
        let https = config.https_redirect.unwrap_or_default();
        let path = if let Some(format) =
            format::parse(config.path_rewrite.as_deref(), &path.field("path_rewrite"))?
        {
            PathRedirect::Format(format)
        } else if let Some(path) = config.path_redirect.as_ref().filter(|path| !path.is_empty()) {
            PathRedirect::Path(path.clone())
        } else if let Some(prefix) = config.prefix_rewrite.as_ref().filter(|prefix| !prefix.is_empty()) {
            PathRedirect::Rewrite(PathRewrite::prefix(matcher, prefix))
        } else if let Some(regex) = &config.regex_rewrite {
            PathRedirect::Rewrite(PathRewrite::Regex(regex.clone()))
        } else {
            PathRedirect::Keep
        };
        Ok(Self {
            status: match config.response_code {
                RedirectResponseCode::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
                RedirectResponseCode::Found => StatusCode::FOUND,
                RedirectResponseCode::SeeOther => StatusCode::SEE_OTHER,
                RedirectResponseCode::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
                RedirectResponseCode::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
            },
            scheme: config.scheme_redirect.clone().or_else(|| https.then(|| "https".to_owned())),
            host: Some(config.host_redirect.clone()).filter(|host| !host.is_empty()),
            port: Some(config.port_redirect).filter(|port| *port != 0),
            path,
            strip_query: config.strip_query,
        })
    }

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

    /// Where the client is sent.
    pub(super) fn location(&self, head: &RequestHead, info: &StreamInfo) -> String {
        let old_scheme = head.scheme.as_str();
        let scheme = self.scheme.as_deref().unwrap_or(old_scheme);
        let (host, old_port) = match &self.host {
            Some(host) => (host.as_str(), ""),
            None => head.authority().split_at(port_start(head.authority()).unwrap_or(head.authority().len())),
        };
        let port = match self.port {
            Some(port) => Cow::Owned(format!(":{port}")),
            // The port that the old scheme has anyway does not go along to another scheme.
            None if scheme != old_scheme
                && matches!((old_scheme, old_port), ("http", ":80") | ("https", ":443")) =>
            {
                Cow::Borrowed("")
            }
            None => Cow::Borrowed(old_port),
        };
        let path = self.new_path(head, info);
        format!("{scheme}://{host}{port}{path}")
    }

    fn new_path<'a>(&'a self, head: &'a RequestHead, info: &StreamInfo) -> Cow<'a, str> {
        let old = head.path();
        let kept = if self.strip_query { without_query(old) } else { old };
        let query = &kept[without_query(old).len()..];
        let replaced = |path: Cow<'a, str>| if path.contains('?') { path } else { path + query };
        match &self.path {
            PathRedirect::Keep => kept.into(),
            PathRedirect::Path(path) => replaced(path.into()),
            PathRedirect::Format(format) => replaced(format::of_request(format, head, info).into()),
            PathRedirect::Rewrite(rewrite) => {
                rewrite.rewrite(kept, head, info).map_or(kept.into(), Cow::Owned)
            }
        }
    }
}
