//! Where operators print their values: straight into the line, without a copy in between.

use std::fmt::{self, Write};

use crate::config::Value;

/// Where an operator prints its value. An operator that prints nothing has no value: `-`, or `null` in JSON.
///
/// In text, values stand as they are. Alone in a JSON property they keep their type: a text is quoted, a number is not.
#[derive(Debug)]
pub struct Output<'a> {
    line: &'a mut String,
    json: bool,
    printed: bool,
}

impl<'a> Output<'a> {
    pub(super) fn text_form(line: &'a mut String) -> Self {
        Self { line, json: false, printed: false }
    }

    pub(super) fn json_form(line: &'a mut String) -> Self {
        Self { line, json: true, printed: false }
    }

    /// Whether the operator had a value.
    pub(super) fn printed(&self) -> bool {
        self.printed
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.printed = true;
        if self.json {
            push_json_string(self.line, text);
        } else {
            self.line.push_str(text);
        }
    }

    /// A text of at most so many bytes; it ends before a character that would be cut in two.
    pub fn text_up_to(&mut self, max_length: Option<usize>, text: &str) {
        self.text(up_to(max_length, text));
    }

    /// Something that prints as a text.
    pub fn display(&mut self, value: impl fmt::Display) {
        self.printed = true;
        if self.json {
            self.line.push('"');
            // Writing to a string does not fail.
            let _ = write!(JsonEscape(self.line), "{value}");
            self.line.push('"');
        } else {
            let _ = write!(self.line, "{value}");
        }
    }

    /// A number.
    pub fn number(&mut self, number: impl Into<u64>) {
        self.printed = true;
        // Writing to a string does not fail.
        let _ = write!(self.line, "{}", number.into());
    }

    /// Something that is an empty text, but `null` in JSON: the port of an address that has none.
    pub fn blank(&mut self) {
        self.printed |= !self.json;
    }

    /// A value of metadata: texts as they are, everything else as JSON. The limit counts for texts, and for JSON that
    /// is printed as text.
    pub fn value(&mut self, max_length: Option<usize>, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(text) => self.text_up_to(max_length, text),
            other => self.json_text(max_length, &other.to_json()),
        }
    }

    /// JSON text. The limit counts where it is printed as text.
    pub fn json_text(&mut self, max_length: Option<usize>, json: &str) {
        self.printed = true;
        self.line.push_str(if self.json { json } else { up_to(max_length, json) });
    }
}

/// At most so many bytes of a text, without cutting a character.
fn up_to(max_length: Option<usize>, text: &str) -> &str {
    let Some(length) = max_length.filter(|length| *length < text.len()) else { return text };
    let end = (0..=length).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// Appends a text as a JSON string.
pub(super) fn push_json_string(line: &mut String, text: &str) {
    line.push('"');
    JsonEscape(line).push(text);
    line.push('"');
}

/// Writes what is inside the quotes of a JSON string (RFC 8259, section 7).
struct JsonEscape<'a>(&'a mut String);

impl JsonEscape<'_> {
    fn push(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, special) = rest.split_at(at);
            self.0.push_str(plain);
            let mut chars = special.chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => self.0.extend(['\\', c]),
                Some('\u{8}') => self.0.push_str("\\b"),
                Some('\u{c}') => self.0.push_str("\\f"),
                Some('\n') => self.0.push_str("\\n"),
                Some('\r') => self.0.push_str("\\r"),
                Some('\t') => self.0.push_str("\\t"),
                // Writing to a string does not fail.
                Some(control) => _ = write!(self.0, "\\u{:04x}", u32::from(control)),
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.push_str(rest);
    }
}

impl Write for JsonEscape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}
