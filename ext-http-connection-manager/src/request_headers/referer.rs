//! The `referer` of a request: one URL, or part of one, without user information and fragment (RFC 9110, section 10.1.3).

use http::{HeaderMap, header};

/// Removes a `referer` that is none.
pub(super) fn check(headers: &mut HeaderMap) {
    let valid = headers.get(header::REFERER).is_none_or(|value| is_valid(value.as_bytes()));
    if !valid {
        headers.remove(header::REFERER);
    }
}

fn is_valid(value: &[u8]) -> bool {
    is_absolute(value) || is_relative(value)
}

/// `http://example.com:80/path?query`.
fn is_absolute(value: &[u8]) -> bool {
    let Some(colon) = value.iter().position(|byte| *byte == b':') else { return false };
    let (scheme, rest) = value.split_at(colon);
    let Some(rest) = rest.strip_prefix(b"://") else { return false };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    !scheme.is_empty()
        && scheme.iter().all(u8::is_ascii_alphabetic)
        && is_authority(authority)
        && path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority.ends_with(b"]") => (&authority[..colon], Some(&authority[colon + 1..])),
        _ => (authority, None),
    };
    let is_port = |port: &[u8]| std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok());
    let is_host = match host {
        [b'[', address @ .., b']'] => {
            address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte))
        }
        name => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)),
    };
    !host.is_empty() && is_host && port.is_none_or(is_port)
}

/// What may follow a scheme and an authority, without a colon that would make a scheme.
fn is_relative(value: &[u8]) -> bool {
    let slash = value.iter().position(|byte| *byte == b'/').unwrap_or(value.len());
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(byte);
    value.iter().all(allowed) && !value[..slash].contains(&b':')
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    /// As the real Envoy decides.
    #[test]
    fn a_referer_is_a_url_or_part_of_one() {
        for valid in [
            "h/a?b",
            "/a:b",
            "ftp://h/",
            "http://h/<a>",
            "http://[::1]/",
            "//h/x",
            "",
            "HTTP://h",
            "http://h?q",
            "http://h:80/x",
        ] {
            assert!(is_valid(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "http://u@h/",
            "http://h/#f",
            "a:b",
            "http://h:80/x y",
            "http:///x",
            "about:blank",
            "http://h:99999/",
            "http://h:x/",
            "/a b",
            "/<a>",
            "http://h_x/",
            "http://h%41/",
            "h#f",
            "http://x,http://y",
        ] {
            assert!(!is_valid(invalid.as_bytes()), "{invalid}");
        }
    }
}
