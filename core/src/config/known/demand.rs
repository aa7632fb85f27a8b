//! Whether a value meets the demands on it, and what to say if not. The words are close to Envoy's.

use regex::Regex;

use super::{Constraint, Constraints, enumeration};

/// The demands that a text does not meet.
pub(super) fn text(constraints: Constraints, text: &str) -> Vec<String> {
    if text.is_empty() && constraints.contains(Constraint::IgnoreEmpty) {
        return Vec::new();
    }
    constraints.iter().filter_map(|constraint| unmet_by_text(constraint, text)).collect()
}

fn unmet_by_text(constraint: Constraint, text: &str) -> Option<String> {
    let characters = text.chars().count() as u64;
    let bytes = text.len() as u64;
    let (met, demand) = match constraint {
        Constraint::MinLen(1) => (characters >= 1, "value length must be at least 1 character".to_owned()),
        Constraint::MinLen(min) => {
            (characters >= min, format!("value length must be at least {min} characters"))
        }
        Constraint::MaxLen(max) => {
            (characters <= max, format!("value length must be at most {max} characters"))
        }
        Constraint::MinBytes(min) => (bytes >= min, format!("value length must be at least {min} bytes")),
        Constraint::MaxBytes(max) => (bytes <= max, format!("value length must be at most {max} bytes")),
        Constraint::Prefix(prefix) => (text.starts_with(prefix), format!("value must start with {prefix:?}")),
        Constraint::Suffix(suffix) => (text.ends_with(suffix), format!("value must end with {suffix:?}")),
        Constraint::Pattern(pattern) => (
            Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)),
            format!("value must match `{pattern}`"),
        ),
        Constraint::In(values) => (
            values.split(',').any(|value| value == text),
            format!("value must be one of {}", values.replace(',', ", ")),
        ),
        Constraint::HeaderName => {
            (is_header_name(text), "value must be the name of an HTTP header".to_owned())
        }
        Constraint::HeaderValue => (
            text.chars().all(|c| c == '\t' || !c.is_ascii_control()),
            "value must not have control characters".to_owned(),
        ),
        Constraint::NoLineBreak => {
            (!text.contains(['\0', '\r', '\n']), "value must not have NUL, CR or LF".to_owned())
        }
        _ => return None,
    };
    (!met).then(|| if text.is_empty() { demand } else { format!("{demand}, not {text:?}") })
}

/// `HTTP_HEADER_NAME` of protoc-gen-validate: a token of RFC 9110, or the name of a pseudo-header.
fn is_header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&b))
}

/// The demands on their number that bytes in base64 do not meet.
pub(super) fn bytes(constraints: Constraints, base64: &str) -> Vec<String> {
    let length = base64.trim_end_matches('=').len() as u64 * 3 / 4;
    let unmet = |constraint| match constraint {
        Constraint::MinLen(min) if length < min => Some(format!("value length must be at least {min} bytes")),
        Constraint::MaxLen(max) if length > max => Some(format!("value length must be at most {max} bytes")),
        _ => None,
    };
    constraints.iter().filter_map(unmet).collect()
}

/// The demand that a boolean does not meet.
pub(super) fn boolean(constraints: Constraints, value: bool) -> Vec<String> {
    let unmet = constraints.contains(Constraint::Const(!value));
    unmet.then(|| format!("value must be {}", !value)).into_iter().collect()
}

/// The range that a number is not in. `unit` is what stands behind the number in a file.
pub(super) fn number(constraints: Constraints, value: f64, unit: &str) -> Vec<String> {
    if value == 0.0 && constraints.contains(Constraint::IgnoreEmpty) {
        return Vec::new();
    }
    let met = |constraint| match constraint {
        Constraint::Below(bound) => value < bound,
        Constraint::AtMost(bound) => value <= bound,
        Constraint::Above(bound) => value > bound,
        Constraint::AtLeast(bound) => value >= bound,
        _ => true,
    };
    if constraints.iter().all(met) {
        return Vec::new();
    }
    vec![format!("value must be {}, not {value}{unit}", range(constraints, unit))]
}

fn range(constraints: Constraints, unit: &str) -> String {
    let mut low = None;
    let mut high = None;
    for constraint in constraints.iter() {
        match constraint {
            Constraint::Above(bound) => low = Some(("(", "greater than", bound)),
            Constraint::AtLeast(bound) => low = Some(("[", "greater than or equal to", bound)),
            Constraint::Below(bound) => high = Some((")", "less than", bound)),
            Constraint::AtMost(bound) => high = Some(("]", "less than or equal to", bound)),
            _ => {}
        }
    }
    match (low, high) {
        (Some((open, _, low)), Some((close, _, high))) => {
            format!("inside range {open}{low}{unit}, {high}{unit}{close}")
        }
        (Some((_, words, bound)), None) | (None, Some((_, words, bound))) => format!("{words} {bound}{unit}"),
        (None, None) => "a number".to_owned(),
    }
}

/// The demands that an enum's number does not meet.
pub(super) fn enum_number(constraints: Constraints, name: &str, number: i32) -> Vec<String> {
    let Some(values) = enumeration(name) else { return Vec::new() };
    let unmet = |constraint| match constraint {
        Constraint::DefinedOnly if values.value_name(number).is_none() => Some(format!(
            "value must be one of {}, not {number}",
            values.value_names().collect::<Vec<_>>().join(", ")
        )),
        Constraint::Not(excluded) if number == excluded => {
            Some(format!("value must not be {}", values.value_name(number).unwrap_or("this")))
        }
        _ => None,
    };
    constraints.iter().filter_map(unmet).collect()
}

/// The demands on their number that the elements of a list, or the entries of a map, do not meet.
pub(super) fn count(constraints: Constraints, count: usize) -> Vec<String> {
    if count == 0 && constraints.contains(Constraint::IgnoreEmpty) {
        return Vec::new();
    }
    let count = count as u64;
    let items = |limit: u64| if limit == 1 { "item" } else { "items" };
    let unmet = |constraint| match constraint {
        Constraint::MinItems(min) if count < min => {
            Some(format!("value must contain at least {min} {}, not {count}", items(min)))
        }
        Constraint::MaxItems(max) if count > max => {
            Some(format!("value must contain at most {max} {}, not {count}", items(max)))
        }
        _ => None,
    };
    constraints.iter().filter_map(unmet).collect()
}
