//! Formats that print text.

use std::fmt;

use super::{
    FormatContext, FormatError, Operators, Output,
    parse::{Part, parse},
};

/// A format string, ready to be printed for any number of streams.
pub struct Formatter {
    parts: Vec<Part>,
    empty: &'static str,
}

impl fmt::Debug for Formatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Formatter").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl Formatter {
    /// Reads a format string; what has no value will print as `-`.
    pub fn parse(format: &str, operators: &Operators) -> Result<Self, FormatError> {
        parse(format, operators).map(Self::from_parts)
    }

    pub(super) fn from_parts(parts: Vec<Part>) -> Self {
        Self { parts, empty: "-" }
    }

    /// The same, but what has no value prints as nothing (`omit_empty_values`).
    #[must_use]
    pub fn omit_empty_values(self, omit: bool) -> Self {
        Self { empty: if omit { "" } else { "-" }, ..self }
    }

    /// The text for a stream.
    pub fn format(&self, context: &FormatContext<'_>) -> String {
        let mut line = String::with_capacity(256);
        self.append(context, &mut line);
        line
    }

    /// Appends the text for a stream.
    pub fn append(&self, context: &FormatContext<'_>, line: &mut String) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => line.push_str(text),
                Part::Operator(operator) => {
                    let mut out = Output::text_form(line);
                    operator.print(context, &mut out);
                    if !out.printed() {
                        line.push_str(self.empty);
                    }
                }
            }
        }
    }
}
