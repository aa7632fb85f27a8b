//! The error type that goes through serde.

use std::fmt;

/// Why reading stopped.
#[derive(Debug)]
pub(crate) enum Error {
    /// Somebody refused a value; nobody has said yet where.
    Message(String),
    /// All was said already.
    Reported,
}

/// typetag carries errors as text; this text is how an error is known again that was reported on the inner side.
const REPORTED: &str = "\u{0}reported";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Reported => f.write_str(REPORTED),
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if message == REPORTED { Self::Reported } else { Self::Message(message) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Message(format!("`{field}` is missing"))
    }
}
