//! What a scalar's text means: the rules of YAML for plain words and of proto3 JSON for quoted ones.

/// The booleans that Envoy's YAML reader (yaml-cpp) knows: it keeps to YAML 1.1 here.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    const PAIRS: [(&str, &str); 4] = [("true", "false"), ("yes", "no"), ("on", "off"), ("y", "n")];
    PAIRS.iter().find_map(|(yes, no)| {
        if is_yaml_word(text, yes) {
            Some(true)
        } else if is_yaml_word(text, no) {
            Some(false)
        } else {
            None
        }
    })
}

/// YAML 1.1 words come in three spellings: `true`, `True`, `TRUE`, and no other mix.
fn is_yaml_word(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
        && (text.bytes().all(|b| b.is_ascii_uppercase())
            || text.bytes().skip(1).all(|b| b.is_ascii_lowercase()))
}

/// Whether a plain scalar means that there is no value.
pub(crate) fn is_null(text: &str) -> bool {
    text.is_empty() || text == "~" || is_yaml_word(text, "null")
}

/// The whole number that a scalar is.
///
/// Proto3 JSON accepts numbers in quotes, and floats whose value is whole (`1e3`); a plain word may also be
/// hexadecimal, or octal with a leading zero as Envoy reads the `mode` of a pipe.
pub(crate) fn integer(text: &str, plain: bool) -> Option<i128> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] if plain => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    } else if let Some(hex) = plain.then(|| digits.strip_prefix("0x")).flatten() {
        radix(hex, 16)?
    } else if let Some(octal) = plain.then(|| digits.strip_prefix("0o")).flatten() {
        radix(octal, 8)?
    } else if digits.bytes().all(|b| b.is_ascii_digit()) {
        let octal = if plain && digits.len() > 1 { digits.strip_prefix('0') } else { None };
        octal.and_then(|octal| radix(octal, 8)).or_else(|| radix(digits, 10))?
    } else {
        whole(float(digits, plain)?)?
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `from_str_radix` takes a sign, which has no place after a prefix.
fn radix(digits: &str, radix: u32) -> Option<i128> {
    if digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        i128::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

/// The whole number that a float is, if it is one and small enough to be exact.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers of less than 2^64 get there")]
pub(crate) fn whole(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() <= 18_446_744_073_709_551_616.0).then_some(number as i128)
}

/// The number that a decimal, an infinity or NaN is.
fn float(text: &str, plain: bool) -> Option<f64> {
    match text {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" if plain => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" if plain => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" if plain => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    // Rust's own reading also takes the words "inf", "infinity" and "nan".
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if numeric { text.parse().ok() } else { None }
}

/// The number that a scalar is, whole or not.
pub(crate) fn number(text: &str, plain: bool) -> Option<f64> {
    integer(text, plain).map(|number| number as f64).or_else(|| float(text, plain))
}

/// Whether a plain scalar is a whole number, `true` or `false`, for which Envoy accepts no quotes-less text.
///
/// Envoy's YAML reader leaves numbers with a fraction as text.
pub(crate) fn is_number_or_boolean(text: &str) -> bool {
    let whole = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-'));
    matches!(text, "true" | "false") || (whole(text) && integer(text, true).is_some())
}

/// A scalar without a field that says its type: what YAML and JSON agree on, else text.
pub(crate) fn to_json(text: &str, plain: bool) -> serde_json::Value {
    if !plain {
        return text.into();
    }
    match text {
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    if let Some(number) = integer(text, plain) {
        if let Ok(number) = i64::try_from(number) {
            return number.into();
        }
        if let Ok(number) = u64::try_from(number) {
            return number.into();
        }
    }
    float(text, plain)
        .and_then(serde_json::Number::from_f64)
        .map_or_else(|| text.into(), serde_json::Value::Number)
}
