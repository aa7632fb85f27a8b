//! `grpc-timeout`: how long the client of a gRPC request waits.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: up to eight digits and a unit.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What a request says, if it says it well.
pub fn read(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(&GRPC_TIMEOUT)?.to_str().ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let unit = text.char_indices().next_back()?;
    let digits = text.get(..unit.0)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match unit.1 {
        'H' => number * 3_600_000,
        'M' => number * 60_000,
        'S' => number * 1000,
        'm' => number,
        'u' => number.div_ceil(1000),
        'n' => number.div_ceil(1_000_000),
        _ => return None,
    };
    Some(Duration::from_millis(milliseconds))
}

/// Says it in a request, in the finest unit that eight digits can say.
pub fn write(headers: &mut HeaderMap, timeout: Duration) {
    let milliseconds = timeout.as_millis();
    let text = match milliseconds {
        0..100_000_000 => format!("{milliseconds}m"),
        100_000_000..100_000_000_000 => format!("{}S", milliseconds / 1000),
        100_000_000_000..6_000_000_000_000 => format!("{}M", milliseconds / 60_000),
        _ => format!("{}H", (milliseconds / 3_600_000).min(99_999_999)),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(GRPC_TIMEOUT.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, milliseconds) in [
            ("5m", 5),
            ("1S", 1000),
            ("2M", 120_000),
            ("1H", 3_600_000),
            ("1500u", 2),
            ("1n", 1),
            ("99999999m", 99_999_999),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "m", "5", "123456789m", "-1m", "1x", "1 m"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        for (milliseconds, text) in [(0, "0m"), (99_999_999, "99999999m"), (100_000_500, "100000S")] {
            write(&mut headers, Duration::from_millis(milliseconds));
            assert_eq!(headers[&GRPC_TIMEOUT], text);
        }
    }
}
