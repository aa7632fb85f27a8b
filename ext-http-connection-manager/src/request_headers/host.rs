//! The authority of a request in one form: without its port, without a dot at the end of the name.

use http::HeaderValue;
use underpass_core::address::Address;
use underpass_http::RequestHead;

use crate::config::HttpConnectionManager;

/// What is dropped of the authority.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostNormalization {
    strip_trailing_dot: bool,
    strip_port: StripPort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StripPort {
    None,
    /// The one that the connection was made to.
    Matching,
    Any,
}

impl HostNormalization {
    pub(crate) fn new(config: &HttpConnectionManager) -> Self {
        let strip_port = match (config.strip_any_host_port, config.strip_matching_host_port) {
            (true, _) => StripPort::Any,
            (false, true) => StripPort::Matching,
            (false, false) => StripPort::None,
        };
        Self { strip_trailing_dot: config.strip_trailing_host_dot, strip_port }
    }

    /// Changes the authority; `local` is what the connection was made to.
    pub(crate) fn apply(self, head: &mut RequestHead, local: &Address) {
        if self.strip_trailing_dot
            && let Some(stripped) = without_trailing_dot(head.authority.as_bytes())
            && let Ok(authority) = HeaderValue::from_bytes(&stripped)
        {
            head.authority = authority;
        }
        if self.strip_port != StripPort::None
            && let Some((host, port)) = split_port(head.authority.as_bytes())
            && (self.strip_port == StripPort::Any
                || matches!(local, Address::Socket(local) if u32::from(local.port()) == port))
            && let Ok(authority) = HeaderValue::from_bytes(host)
        {
            head.authority = authority;
        }
    }
}

/// The authority without the last dot, if that ends the name or stands before a colon.
fn without_trailing_dot(authority: &[u8]) -> Option<Vec<u8>> {
    let dot = authority.iter().rposition(|byte| *byte == b'.')?;
    let (name, rest) = (&authority[..dot], &authority[dot + 1..]);
    matches!(rest, [] | [b':', ..]).then(|| [name, rest].concat())
}

/// The host and the port of an authority that has one.
fn split_port(authority: &[u8]) -> Option<(&[u8], u32)> {
    let colon = authority.iter().rposition(|byte| *byte == b':')?;
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    // A colon inside of brackets belongs to an IPv6 address (RFC 3986, section 3.2.2).
    if port.contains(&b']') || port.is_empty() || !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((host, std::str::from_utf8(port).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(strip_port: StripPort, strip_trailing_dot: bool, authority: &'static str) -> String {
        let mut head = underpass_http::testing::request("GET", "/", &[(":authority", authority)]);
        let local = Address::Socket("127.0.0.1:80".parse().unwrap());
        HostNormalization { strip_trailing_dot, strip_port }.apply(&mut head, &local);
        head.authority().to_owned()
    }

    /// As the real Envoy does.
    #[test]
    fn ports_and_dots_are_dropped_where_that_is_asked_for() {
        for (authority, any, matching, dot) in [
            ("a.example:80", "a.example", "a.example", "a.example:80"),
            ("a.example:81", "a.example", "a.example:81", "a.example:81"),
            ("a.example.", "a.example.", "a.example.", "a.example"),
            ("a.example.:80", "a.example.", "a.example.", "a.example:80"),
            ("[::1]:80", "[::1]", "[::1]", "[::1]:80"),
            ("[::1]", "[::1]", "[::1]", "[::1]"),
            ("a:", "a:", "a:", "a:"),
            ("a:b", "a:b", "a:b", "a:b"),
            ("a.b.:b", "a.b.:b", "a.b.:b", "a.b:b"),
            ("a..", "a..", "a..", "a."),
        ] {
            assert_eq!(after(StripPort::Any, false, authority), any);
            assert_eq!(after(StripPort::Matching, false, authority), matching);
            assert_eq!(after(StripPort::None, true, authority), dot);
        }
        assert_eq!(after(StripPort::Any, true, "a.example.:80"), "a.example");
    }
}
