//! The headers that an HTTP/1 request names in its `connection` header: they are for the next hop alone, and end here.
//!
//! RFC 9110, section 7.6.1; that a client could so remove what a proxy in front of this one has written is why some may not
//! be named (Envoy's `Utility::sanitizeConnectionHeader`).

use http::{HeaderMap, HeaderName, HeaderValue, header};
use underpass_core::matcher::StringMatcher;

use crate::inline_headers::{self, Side};

/// So many names are too many.
const MAX_NAMES: usize = 10;
/// A `te` header of so many bytes is too long.
const MAX_TE_LENGTH: usize = 256;

const HTTP2_SETTINGS: &str = "http2-settings";

/// What became of the headers that were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nominated {
    /// They are gone.
    Removed,
    /// They are gone, and `host` was one of them.
    HostToo,
    /// One was named that may not be, or too many were.
    Refused,
}

/// Removes the headers that `connection` names, and their names from it; `te: trailers` stays.
pub fn remove_nominated(headers: &mut HeaderMap) -> Nominated {
    if !headers.contains_key(header::CONNECTION) {
        return Nominated::Removed;
    }
    inline_headers::join_lines(Side::Request, headers);
    let Some(value) = headers.get(header::CONNECTION).cloned() else { return Nominated::Removed };
    let Ok(text) = value.to_str() else { return Nominated::Refused };
    let is_for_connection = |token: &str| {
        ["close", "keep-alive", "upgrade", HTTP2_SETTINGS]
            .iter()
            .any(|known| token.eq_ignore_ascii_case(known))
    };
    let tokens = || text.split(',').filter(|token| !token.is_empty()).map(str::trim);
    if tokens().count() >= MAX_NAMES {
        return Nominated::Refused;
    }
    if tokens().all(is_for_connection) {
        return Nominated::Removed;
    }
    let mut kept = Vec::new();
    let mut outcome = Nominated::Removed;
    for token in tokens() {
        if is_for_connection(token) {
            kept.push(token);
            continue;
        }
        if token.starts_with(':') {
            return Nominated::Refused;
        }
        let Ok(name) = HeaderName::from_bytes(token.as_bytes()) else { continue };
        match name.as_str() {
            "connection" => {}
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => return Nominated::Refused,
            "host" => outcome = Nominated::HostToo,
            "te" if !keep_trailers(headers) => return Nominated::Refused,
            "te" => kept.push(token),
            _ => {
                headers.remove(name);
            }
        }
    }
    match HeaderValue::try_from(kept.join(",")) {
        Ok(value) if !value.is_empty() => headers.insert(header::CONNECTION, value),
        _ => headers.remove(header::CONNECTION),
    };
    outcome
}

/// Takes an upgrade away that is not to be had: to HTTP/2 in clear text (RFC 9113, section 3.1 has dropped it), or one of
/// those that `ignored` matches. What names it in `connection` goes too.
pub fn ignore_upgrade(headers: &mut HeaderMap, ignored: &[StringMatcher]) {
    let Some(upgrade) = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()) else { return };
    if !upgrade.eq_ignore_ascii_case("h2c") && !ignored.iter().any(|matcher| matcher.matches(upgrade)) {
        return;
    }
    headers.remove(header::UPGRADE);
    headers.remove(HTTP2_SETTINGS);
    let connection = headers.get(header::CONNECTION).and_then(|value| value.to_str().ok());
    let rest = connection.map(|tokens| {
        let goes =
            |token: &str| ["upgrade", HTTP2_SETTINGS].iter().any(|name| token.eq_ignore_ascii_case(name));
        tokens.split(',').map(str::trim).filter(|token| !goes(token)).collect::<Vec<_>>().join(",")
    });
    match rest.map(HeaderValue::try_from) {
        Some(Ok(rest)) if !rest.is_empty() => headers.insert(header::CONNECTION, rest),
        _ => headers.remove(header::CONNECTION),
    };
}

/// Leaves nothing in a nominated `te` but `trailers`; `false` if it is too long.
fn keep_trailers(headers: &mut HeaderMap) -> bool {
    let Some(te) = headers.get(header::TE).map(HeaderValue::as_bytes) else { return true };
    if te.len() >= MAX_TE_LENGTH {
        return false;
    }
    let trailers =
        te.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[(&'static str, &'static str)]) -> (Nominated, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let outcome = remove_nominated(&mut headers);
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        (outcome, lines.join(" | "))
    }

    /// As the real Envoy does.
    #[test]
    fn named_headers_end_here() {
        let left = |lines: &[_]| after(lines).1;
        assert_eq!(
            left(&[("connection", "X-A, , close"), ("x-a", "1"), ("x-b", "2")]),
            "connection: close | x-b: 2"
        );
        assert_eq!(left(&[("connection", "connection"), ("x-a", "1")]), "x-a: 1");
        assert_eq!(left(&[("connection", "te"), ("te", "gzip, TRAILERS")]), "connection: te | te: trailers");
        assert_eq!(left(&[("connection", "te"), ("te", "gzip")]), "connection: te");
        assert_eq!(
            left(&[("connection", "keep-alive, Upgrade"), ("upgrade", "x")]),
            "connection: keep-alive, Upgrade | upgrade: x"
        );
        assert_eq!(after(&[("connection", "host")]), (Nominated::HostToo, String::new()));
    }

    #[test]
    fn an_upgrade_that_is_not_to_be_had_is_none() {
        let after = |upgrade: &'static str, connection: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("upgrade", HeaderValue::from_static(upgrade));
            headers.insert("connection", HeaderValue::from_static(connection));
            ignore_upgrade(&mut headers, &[StringMatcher::exact("foo")]);
            let text = |name: &str| headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
            (text("upgrade"), text("connection"))
        };
        assert_eq!(after("H2C", "Upgrade, HTTP2-Settings"), ("-".into(), "-".into()));
        assert_eq!(after("foo", "keep-alive, upgrade"), ("-".into(), "keep-alive".into()));
        assert_eq!(after("bar", "upgrade"), ("bar".into(), "upgrade".into()));
    }

    #[test]
    fn what_others_have_written_cannot_be_named() {
        for named in ["x-forwarded-for", "X-Forwarded-Proto", ":path", "a,b,c,d,e,f,g,h,i,j"] {
            assert_eq!(after(&[("connection", named)]).0, Nominated::Refused, "{named}");
        }
        assert_eq!(after(&[("connection", "a,b,c,d,e,f,g,h,i")]).0, Nominated::Removed);
    }
}
