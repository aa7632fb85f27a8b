//! Paths in one form: so that a route, a filter and the upstream cannot understand one path differently.
//!
//! Three steps, each of which a configuration may want: unescape slashes, resolve `.` and `..` and superfluous escapes
//! (RFC 3986, section 6), merge slashes. All of it is about the path, never the query.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto>

mod canonical;

use std::borrow::Cow;

use http::uri::PathAndQuery;

use crate::RequestHead;

pub use self::canonical::canonical;

/// What is done to the paths of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathNormalization {
    /// What happens to `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
    /// Whether paths are normalised.
    pub normalize: bool,
    /// Whether several slashes in a row become one.
    pub merge_slashes: bool,
}

/// What happens to `%2F` and `%5C`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    #[default]
    Keep,
    /// The request is refused.
    Reject,
    /// The client is sent to the path that has them unescaped.
    UnescapeAndRedirect,
    /// They are unescaped.
    UnescapeAndForward,
}

/// What is to be done with a request after its path was normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAction {
    /// It is served.
    Continue,
    /// It is refused: 400, `path_normalization_failed`.
    Reject,
    /// The client is sent to the path that the request has now: 307, `path_normalization_failed`.
    Redirect,
}

impl PathNormalization {
    /// Normalises the path of a request. One without a path (CONNECT) has none to normalise.
    pub fn apply(self, head: &mut RequestHead) -> PathAction {
        let Some(path) = &head.path else { return PathAction::Continue };
        if self == Self::default() {
            return PathAction::Continue;
        }
        match self.normalized(path.as_str()) {
            (_, PathAction::Reject) | (None, _) => PathAction::Reject,
            (Some(Cow::Borrowed(same)), action) if same.len() == path.as_str().len() => action,
            (Some(changed), action) => match PathAndQuery::try_from(changed.into_owned()) {
                Ok(changed) => {
                    head.path = Some(changed);
                    action
                }
                Err(_) => PathAction::Reject,
            },
        }
    }

    /// A path with its query, normalised, and what is to be done.
    fn normalized(self, path_and_query: &str) -> (Option<Cow<'_, str>>, PathAction) {
        let split = path_and_query.find('?').unwrap_or(path_and_query.len());
        let (original, query) = path_and_query.split_at(split);
        let mut path = Cow::Borrowed(original);
        let mut action = PathAction::Continue;
        if self.escaped_slashes != EscapedSlashes::Keep
            && let Some(unescaped) = unescape_slashes(&path)
        {
            match self.escaped_slashes {
                EscapedSlashes::Reject => return (None, PathAction::Reject),
                EscapedSlashes::UnescapeAndRedirect => action = PathAction::Redirect,
                EscapedSlashes::Keep | EscapedSlashes::UnescapeAndForward => {}
            }
            path = Cow::Owned(unescaped);
        }
        if self.normalize {
            match canonical(&path) {
                Some(Cow::Owned(changed)) => path = Cow::Owned(changed),
                Some(Cow::Borrowed(_)) => {}
                None => return (None, PathAction::Reject),
            }
        }
        if self.merge_slashes
            && let Some(merged) = merge_slashes(&path)
        {
            path = Cow::Owned(merged);
        }
        match path {
            Cow::Borrowed(_) => (Some(Cow::Borrowed(path_and_query)), action),
            Cow::Owned(mut changed) => {
                changed.push_str(query);
                (Some(Cow::Owned(changed)), action)
            }
        }
    }
}

/// The path with `%2F` and `%5C` unescaped, if it has any.
fn unescape_slashes(path: &str) -> Option<String> {
    let mut unescaped = String::new();
    let mut copied = 0;
    for (at, _) in path.match_indices('%') {
        let character = match path.as_bytes().get(at + 1..at + 3) {
            Some(b"2F" | b"2f") => '/',
            Some(b"5C" | b"5c") => '\\',
            _ => continue,
        };
        unescaped.push_str(&path[copied..at]);
        unescaped.push(character);
        copied = at + 3;
    }
    (copied > 0).then(|| unescaped + &path[copied..])
}

/// The path with each run of slashes made one, if it has such.
fn merge_slashes(path: &str) -> Option<String> {
    if !path.contains("//") {
        return None;
    }
    // Envoy's way, visible where there is nothing but slashes: the first one, the segments, the last one.
    if path.bytes().all(|byte| byte == b'/') {
        return Some("//".to_owned());
    }
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests;
