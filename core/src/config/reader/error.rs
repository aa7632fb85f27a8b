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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Reported => f.write_str("what is wrong was reported"),
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Message(format!("`{field}` is missing"))
    }
}
