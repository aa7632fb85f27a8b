//! Times as proto3 JSON writes them.

/// A time, as `2026-01-31T12:00:00.123Z`.
pub fn at(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(show).unwrap_or_default()
}

fn show(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Now, as `2026-01-31T12:00:00.123Z`.
pub fn now() -> String {
    show(jiff::Timestamp::now())
}
