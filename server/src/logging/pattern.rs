//! `--log-format`: spdlog's pattern flags, as far as Envoy's users write them.
//!
//! <https://github.com/gabime/spdlog/wiki/3.-Custom-formatting>

use std::fmt::{self, Write as _};

use jiff::Zoned;
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// A format, parsed once.
pub(super) struct Pattern {
    parts: Vec<Part>,
    escaped: bool,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// A time field, in the syntax of strftime.
    Time(String),
    ThreadId,
    ProcessId,
    Level,
    LevelLetter,
    Component,
    File,
    FileName,
    Line,
    Message,
}

impl Pattern {
    pub(super) fn new(format: &str, escaped: bool) -> Self {
        let mut parts = Vec::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                push_text(&mut parts, char);
                continue;
            }
            match chars.next() {
                Some(flag) => push_flag(&mut parts, flag),
                None => push_text(&mut parts, '%'),
            }
        }
        Self { parts, escaped }
    }
}

fn push_text(parts: &mut Vec<Part>, char: char) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push(char),
        _ => parts.push(Part::Text(char.into())),
    }
}

fn push_flag(parts: &mut Vec<Part>, flag: char) {
    parts.push(match flag {
        't' => Part::ThreadId,
        'P' => Part::ProcessId,
        'l' => Part::Level,
        'L' => Part::LevelLetter,
        'n' => Part::Component,
        'g' => Part::File,
        's' => Part::FileName,
        '#' => Part::Line,
        // `%_` and `%j` are Envoy's own flags for an escaped message.
        'v' | '_' | 'j' => Part::Message,
        'e' => Part::Time("%3f".into()),
        'f' => Part::Time("%6f".into()),
        'F' => Part::Time("%9f".into()),
        'T' | 'X' => Part::Time("%H:%M:%S".into()),
        'D' | 'x' => Part::Time("%m/%d/%y".into()),
        'E' => Part::Time("%s".into()),
        'z' => Part::Time("%:z".into()),
        'Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'I' | 'p' | 'y' | 'a' | 'A' | 'b' | 'B' => {
            Part::Time(format!("%{flag}"))
        }
        '%' => return push_text(parts, '%'),
        // Colour ranges mean nothing in a file.
        '^' | '$' => return,
        other => {
            push_text(parts, '%');
            return push_text(parts, other);
        }
    });
}

impl<S, N> FormatEvent<S, N> for Pattern
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = Zoned::now();
        let metadata = event.metadata();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.write_str(text)?,
                Part::Time(format) => write!(out, "{}", now.strftime(format))?,
                Part::ThreadId => write!(out, "{}", rustix::thread::gettid().as_raw_nonzero())?,
                Part::ProcessId => write!(out, "{}", std::process::id())?,
                Part::Level => out.write_str(level_name(event))?,
                Part::LevelLetter => {
                    out.write_char(level_name(event).as_bytes()[0].to_ascii_uppercase().into())?;
                }
                Part::Component => out.write_str(metadata.target())?,
                Part::File => out.write_str(metadata.file().unwrap_or("-"))?,
                Part::FileName => {
                    out.write_str(metadata.file().and_then(|file| file.rsplit('/').next()).unwrap_or("-"))?;
                }
                Part::Line => write!(out, "{}", metadata.line().unwrap_or(0))?,
                Part::Message => self.message(&mut out, event)?,
            }
        }
        out.write_char('\n')
    }
}

impl Pattern {
    fn message(&self, out: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = MessageText::default();
        event.record(&mut text);
        let text = text.message + &text.fields;
        if self.escaped { write!(out, "{}", text.escape_default()) } else { out.write_str(&text) }
    }
}

/// Envoy's `critical` is an error that says so.
fn level_name(event: &Event<'_>) -> &'static str {
    let metadata = event.metadata();
    match *metadata.level() {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warning",
        Level::ERROR if metadata.fields().field("critical").is_some() => "critical",
        Level::ERROR => "error",
    }
}

#[derive(Default)]
struct MessageText {
    message: String,
    fields: String,
}

impl Visit for MessageText {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "critical" => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_parsed_into_its_parts() {
        let parts = Pattern::new("[%T.%e][%l] 100%% %v%", false).parts;
        let text = |text: &str| Part::Text(text.into());
        let time = |format: &str| Part::Time(format.into());
        let expected = [
            text("["),
            time("%H:%M:%S"),
            text("."),
            time("%3f"),
            text("]["),
            Part::Level,
            text("] 100% "),
            Part::Message,
            text("%"),
        ];
        assert_eq!(parts, expected);
    }
}
