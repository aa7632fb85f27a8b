//! What can be wrong with a format string.

use std::fmt;

/// Why a format string cannot be used. The first sentence is Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// What follows a `%` is no command.
    #[error(
        "Incorrect configuration: {}. Couldn't find valid command at position {position}; a command is \
         %NAME%, %NAME(argument)% or %NAME(argument):length%, and a percent sign is %%",
        one_line(format)
    )]
    Syntax {
        /// The whole format string.
        format: String,
        /// Where the `%` is, in bytes from 0.
        position: usize,
    },
    /// No operator has that name.
    #[error(
        "Not supported field in StreamInfo: {name} (at position {position} of `{}`){hint}",
        one_line(format)
    )]
    UnknownOperator {
        /// The name.
        name: String,
        /// The whole format string.
        format: String,
        /// Where the command is, in bytes from 0.
        position: usize,
        /// What may have been meant.
        hint: Hint,
    },
    /// The operator cannot use its argument or length.
    #[error("{message} (at position {position} of `{}`)", one_line(format))]
    Argument {
        /// What is wrong.
        message: String,
        /// The whole format string.
        format: String,
        /// Where the command is, in bytes from 0.
        position: usize,
    },
    /// Something is wrong in a JSON format.
    #[error("{path}: {source}")]
    Json {
        /// Where: `json_format.a.b[0]`.
        path: String,
        /// What.
        source: Box<FormatError>,
    },
    /// The text cannot be read from where the configuration says it is.
    #[error("{field}: {message}")]
    Source {
        /// The field of the configuration.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A `formatters` entry of the configuration.
    #[error("formatters: there is no extension {name:?} ({type_url}) among the formatters of this proxy")]
    Extension {
        /// Its name in the configuration.
        name: String,
        /// Its type URL.
        type_url: String,
    },
}

/// Formats of access logs end with a newline, which would break the message in two.
fn one_line(format: &str) -> String {
    format.replace('\n', "\\n")
}

/// What may have been meant by an unknown name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Nothing comes to mind.
    None,
    /// A name that looks much like it.
    Nearest(&'static str),
    /// Envoy has it, this proxy has not yet.
    NotImplemented,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Nearest(name) => write!(f, "; did you mean %{name}%?"),
            Self::NotImplemented => f.write_str("; Envoy knows it, this proxy does not implement it yet"),
        }
    }
}
