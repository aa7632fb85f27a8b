//! Which version this is, in Envoy's form.

use serde_json::{Value, json};

/// `RELEASE` or `DEBUG`.
pub const BUILD_TYPE: &str = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };

/// `underpass/0.1.0/RELEASE`.
pub fn full() -> String {
    format!("underpass/{}/{BUILD_TYPE}", env!("CARGO_PKG_VERSION"))
}

/// The parts of the version as a `type.v3.SemanticVersion`.
pub fn numbers() -> Value {
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    json!({
        "major_number": number(env!("CARGO_PKG_VERSION_MAJOR")),
        "minor_number": number(env!("CARGO_PKG_VERSION_MINOR")),
        "patch": number(env!("CARGO_PKG_VERSION_PATCH")),
    })
}
