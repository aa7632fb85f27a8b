//! Numbers as the C and C++ functions print them that Envoy uses.

/// `value` with up to `precision` significant digits, as C's `%.<precision>g`.
pub(super) fn general(value: f64, precision: usize) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nan".to_owned() } else { value.to_string() };
    }
    let last = precision.saturating_sub(1);
    let scientific = format!("{value:.last$e}");
    let Some((digits, exponent)) = split_exponent(&scientific) else { return scientific };
    match usize::try_from(exponent) {
        Ok(magnitude) if magnitude < precision => {
            without_trailing_zeros(&format!("{value:.*}", last - magnitude)).to_owned()
        }
        Err(_) if exponent >= -4 => {
            let decimals = last.saturating_add(usize::try_from(-exponent).unwrap_or_default());
            without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
        }
        _ => with_exponent(without_trailing_zeros(digits), exponent),
    }
}

/// The shortest text from which `value` can be read back, as C++'s `std::to_chars`: with an exponent only where that
/// is shorter.
pub(super) fn shortest(value: f64) -> String {
    let plain = value.to_string();
    let scientific = format!("{value:e}");
    match split_exponent(&scientific) {
        Some((digits, exponent)) => {
            let scientific = with_exponent(digits, exponent);
            if scientific.len() < plain.len() { scientific } else { plain }
        }
        None => plain,
    }
}

/// `1.5e-7` as `1.5` and `-7`.
fn split_exponent(scientific: &str) -> Option<(&str, i32)> {
    let (digits, exponent) = scientific.split_once('e')?;
    Some((digits, exponent.parse().ok()?))
}

/// C prints a sign and at least two digits of the exponent.
fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_is_printf_g() {
        for (value, precision, expected) in [
            (0.5, 6, "0.5"),
            (300_000.0, 6, "300000"),
            (1_800_000.0, 6, "1.8e+06"),
            (229.999_999_999_999_97, 6, "230"),
            (0.0, 6, "0"),
            (0.000_1, 6, "0.0001"),
            (0.000_01, 6, "1e-05"),
            (1_800_000.0, 32, "1800000"),
            (32.0 / 65.0 * 3.0 + 96.0, 32, "97.476923076923071675992105156183"),
            (1.5, 1, "2"),
            (f64::NAN, 6, "nan"),
        ] {
            assert_eq!(general(value, precision), expected);
        }
    }

    #[test]
    fn shortest_is_to_chars() {
        for (value, expected) in [
            (0.5, "0.5"),
            (300_000.0, "3e+05"),
            (10_000.0, "10000"),
            (1_800_000.0, "1800000"),
            (1.0 + 1.0 / 30.0, "1.0333333333333334"),
            (0.0, "0"),
        ] {
            assert_eq!(shortest(value), expected);
        }
    }
}
