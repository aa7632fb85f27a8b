//! Times as proto3 JSON writes them.

/// Now, as `2026-01-31T12:00:00.123Z`.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
