//! Durations as proto3 JSON writes them: `0.25s`.

use std::time::Duration;

/// Protobuf's limit, about 10,000 years.
pub(crate) const MAX_SECONDS: u64 = 315_576_000_000;

/// Reads a duration of seconds with up to nine digits after the point and an `s` at the end.
///
/// # Errors
/// What is wrong with the text, as a sentence for the user.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration in seconds such as `5s` or `0.25s`, not `{text}`");
    let Some(number) = text.strip_suffix('s') else {
        let bare =
            text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().any(|b| b.is_ascii_digit());
        return Err(if bare {
            format!("a duration needs its unit: write `{text}s` for {text} seconds")
        } else {
            format!("{}; a duration ends with a single `s`", wrong())
        });
    };
    if let Some(positive) = number.strip_prefix('-') {
        return match parse(&format!("{positive}s")) {
            Ok(Duration::ZERO) => Ok(Duration::ZERO),
            Ok(_) => Err(format!("a duration cannot be negative here, as `{text}` is")),
            Err(_) => Err(wrong()),
        };
    }
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return Err(wrong());
    }
    if fraction.len() > 9 {
        return Err(format!("`{text}` is finer than a nanosecond: at most nine digits can follow the point"));
    }
    match (seconds.parse::<u64>(), format!("{fraction:0<9}").parse::<u32>()) {
        (Ok(seconds), Ok(nanos)) if seconds <= MAX_SECONDS => Ok(Duration::new(seconds, nanos)),
        _ => Err(format!("`{text}` is too long: a duration has at most {MAX_SECONDS} seconds")),
    }
}
