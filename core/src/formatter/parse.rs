//! Reads format strings: literal text and commands in turn.

use super::{Command, FormatError, Operator, Operators, error::Hint};
use crate::config::nearest_name;

/// One part of a format.
pub(super) enum Part {
    Literal(Box<str>),
    Operator(Box<dyn Operator>),
}

/// What Envoy has and this proxy has not, so that the message can say so.
const NOT_IMPLEMENTED: &[&str] = &["CEL", "COALESCE"];

/// The parts of a format string. Two literals never follow each other, and none is empty.
pub(super) fn parse(format: &str, operators: &Operators) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut position = 0;
    while let Some(found) = format[position..].find('%') {
        literal.push_str(&format[position..position + found]);
        position += found;
        let rest = &format[position + 1..];
        if rest.starts_with('%') {
            literal.push('%');
            position += 2;
            continue;
        }
        let (command, length) =
            command(rest).ok_or_else(|| FormatError::Syntax { format: format.to_owned(), position })?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Operator(operator(&command, format, position, operators)?));
        position += 1 + length;
    }
    literal.push_str(&format[position..]);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

fn operator(
    command: &Command<'_>,
    format: &str,
    position: usize,
    operators: &Operators,
) -> Result<Box<dyn Operator>, FormatError> {
    let format = || format.to_owned();
    let Some(entry) = operators.get(command.name) else {
        let nearest = || nearest_name(command.name, operators.names()).map_or(Hint::None, Hint::Nearest);
        let known = NOT_IMPLEMENTED.contains(&command.name);
        let hint = if known { Hint::NotImplemented } else { nearest() };
        return Err(FormatError::UnknownOperator {
            name: command.name.to_owned(),
            format: format(),
            position,
            hint,
        });
    };
    entry.build(command).map_err(|message| FormatError::Argument { message, format: format(), position })
}

/// The command at the start of `text`, which is what follows a `%`, and how long it is with its closing `%`.
fn command(text: &str) -> Option<(Command<'_>, usize)> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let name_length = text.find(|c| !is_name(c))?;
    if name_length == 0 {
        return None;
    }
    let (name, after_name) = text.split_at(name_length);
    let without_argument = (end(after_name), "");
    let (Some((max_length, rest)), argument) =
        after_name.strip_prefix('(').map_or(Some(without_argument), argument)?
    else {
        return None;
    };
    Some((Command { name, argument, max_length }, text.len() - rest.len()))
}

/// What an end is: the length that it gives, and the text behind it.
type End<'a> = Option<(Option<usize>, &'a str)>;

/// The argument at the start of `text`, which is what follows a `(`, and the end of the command. An argument ends with
/// the first `)` that an end follows, so it may hold parentheses and percent signs, but no line break.
fn argument(text: &str) -> Option<(End<'_>, &str)> {
    let line = text.split('\n').next().unwrap_or_default();
    line.match_indices(')').find_map(|(at, _)| {
        let end = end(&text[at + 1..]);
        end.is_some().then(|| (end, &text[..at]))
    })
}

/// `%` or `:<length>%` at the start of `text`.
fn end(text: &str) -> End<'_> {
    if let Some(rest) = text.strip_prefix('%') {
        return Some((None, rest));
    }
    let (length, rest) = text.strip_prefix(':')?.split_once('%')?;
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    digits.then_some(())?;
    Some((Some(length.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(Command<'_>, usize)> {
        command(text)
    }

    #[test]
    fn commands_have_a_name_an_argument_and_a_length() {
        let command = |name, argument, max_length| Command { name, argument, max_length };
        assert_eq!(of("PROTOCOL% x"), Some((command("PROTOCOL", "", None), 9)));
        assert_eq!(of("REQ(:path):10%"), Some((command("REQ", ":path", Some(10)), 14)));
        assert_eq!(of("HOSTNAME:3%"), Some((command("HOSTNAME", "", Some(3)), 11)));
        assert_eq!(of("START_TIME(%s.%3f)%%"), Some((command("START_TIME", "%s.%3f", None), 19)));
        assert_eq!(of("START_TIME((a))%"), Some((command("START_TIME", "(a)", None), 16)));
        assert_eq!(of("START_TIME(a)b)%"), Some((command("START_TIME", "a)b", None), 16)));
    }

    #[test]
    fn what_is_no_command() {
        for text in [
            "",
            "lower%",
            "REQ",
            "REQ(a",
            "REQ(a)",
            "REQ(a)x",
            "REQ(a):%",
            "REQ(a):x%",
            "REQ(a\nb)%",
            "%",
            "REQ(a):99999999999999999999999%",
            "REQ :3%",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
