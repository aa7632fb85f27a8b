//! Times as `%START_TIME(format)%` prints them: the conversions of C's `strftime`, and those that Envoy adds.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#config-access-log-format-start-time>

use std::fmt;
use std::time::SystemTime;

use jiff::{Timestamp, Zoned, fmt::strtime, tz::TimeZone};

/// What a time looks like by default: `2026-11-23T14:02:42.714Z`, and with the offset where it is local.
const DEFAULT: &str = "%Y-%m-%dT%H:%M:%E3SZ";
const DEFAULT_LOCAL: &str = "%Y-%m-%dT%H:%M:%E3S%z";

/// Conversions that are the same everywhere.
const STANDARD: &str = "aAbBCdeGgHIjklmMpPSuUVwWyYzZ";

/// How a time is printed.
#[derive(Debug)]
pub(super) struct TimeFormat {
    parts: Vec<Part>,
    zone: TimeZone,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// Conversions and text for jiff's `strftime`.
    Calendar(String),
    /// Seconds since 1970.
    Epoch,
    /// So many digits of the fraction of the second.
    Fraction(usize),
    /// The fraction of the second without trailing zeros, behind this text; nothing where it is zero.
    ShortFraction(&'static str),
}

impl TimeFormat {
    /// Reads a format; an empty one is the default. Fails on a line break, which would split a log line or a header.
    pub(super) fn parse(format: &str, local: bool) -> Result<Self, String> {
        let default = if local { DEFAULT_LOCAL } else { DEFAULT };
        let mut reader = Reader { parts: Vec::new(), sample: Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC) };
        reader.read(if format.is_empty() { default } else { format })?;
        Ok(Self { parts: reader.parts, zone: if local { TimeZone::system() } else { TimeZone::UTC } })
    }

    /// The time, to be printed; `None` beyond the year 9999.
    pub(super) fn of(&self, time: SystemTime) -> Option<impl fmt::Display> {
        let time = Timestamp::try_from(time).ok()?.to_zoned(self.zone.clone());
        Some(Printed { parts: &self.parts, time })
    }
}

struct Printed<'a> {
    parts: &'a [Part],
    time: Zoned,
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = format!("{:09}", self.time.timestamp().subsec_nanosecond());
        for part in self.parts {
            match part {
                Part::Calendar(format) => write!(f, "{}", self.time.strftime(format))?,
                Part::Epoch => write!(f, "{}", self.time.timestamp().as_second())?,
                Part::Fraction(digits) => {
                    f.write_str(&nanoseconds[..nanoseconds.len().min(*digits)])?;
                    write!(f, "{:0<1$}", "", digits.saturating_sub(nanoseconds.len()))?;
                }
                Part::ShortFraction(before) => match nanoseconds.trim_end_matches('0') {
                    "" => {}
                    digits => write!(f, "{before}{digits}")?,
                },
            }
        }
        Ok(())
    }
}

struct Reader {
    parts: Vec<Part>,
    /// For trying conversions out.
    sample: Zoned,
}

impl Reader {
    fn read(&mut self, format: &str) -> Result<(), String> {
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            self.literal(&rest[..at]);
            let conversion = &rest[at..];
            let length = conversion_length(conversion);
            self.conversion(&conversion[..length])?;
            rest = &conversion[length..];
        }
        self.literal(rest);
        Ok(())
    }

    fn literal(&mut self, text: &str) {
        self.calendar(&text.replace('%', "%%"));
    }

    fn calendar(&mut self, format: &str) {
        match self.parts.last_mut() {
            Some(Part::Calendar(last)) => last.push_str(format),
            _ if format.is_empty() => {}
            _ => self.parts.push(Part::Calendar(format.to_owned())),
        }
    }

    /// One conversion, `%` included.
    fn conversion(&mut self, conversion: &str) -> Result<(), String> {
        let letter = conversion.chars().next_back().unwrap_or('%');
        let modifiers = conversion[1..].strip_suffix(letter).unwrap_or_default();
        if letter == 'n' {
            return Err("Invalid header configuration. Format string contains newline.".to_owned());
        }
        match (modifiers, letter) {
            ("", '%') => self.calendar("%%"),
            ("", 's') => self.parts.push(Part::Epoch),
            ("", 't') => self.calendar("\t"),
            ("", 'f') => self.parts.push(Part::Fraction(9)),
            ("", 'h') => self.calendar("%b"),
            ("", 'D' | 'x') => self.calendar("%m/%d/%y"),
            ("", 'F') => self.calendar("%Y-%m-%d"),
            ("", 'R') => self.calendar("%H:%M"),
            ("", 'T' | 'X') => self.calendar("%H:%M:%S"),
            ("", 'r') => self.calendar("%I:%M:%S %p"),
            ("", 'c') => self.calendar("%a %b %e %H:%M:%S %Y"),
            (digit, 'f') if matches!(digit.as_bytes(), [b'1'..=b'9']) => {
                self.parts.push(Part::Fraction(usize::from(digit.as_bytes()[0] - b'0')));
            }
            (extended, letter) if extended.starts_with('E') => {
                self.extended(&extended[1..], letter, conversion);
            }
            (":" | "::", 'z') => self.calendar(conversion),
            (_, letter) if STANDARD.contains(letter) && strtime::format(conversion, &self.sample).is_ok() => {
                self.calendar(conversion);
            }
            // As C does with what it does not know.
            _ => self.literal(conversion),
        }
        Ok(())
    }

    /// The `%E…` conversions of Abseil, on which Envoy's times are built
    /// (<https://abseil.io/docs/cpp/guides/time#conversion-specifiers>).
    fn extended(&mut self, modifier: &str, letter: char, conversion: &str) {
        let digits = || modifier.parse::<usize>().ok().filter(|digits| *digits <= 15);
        match (modifier, letter) {
            ("", 'T') => self.calendar("T"),
            ("", 'z') => self.calendar("%:z"),
            ("*", 'z') => self.calendar("%::z"),
            ("4", 'Y') => self.calendar("%Y"),
            ("", 's') => self.parts.push(Part::Epoch),
            ("*", 'S') => {
                self.calendar("%S");
                self.parts.push(Part::ShortFraction("."));
            }
            ("*", 'f') => self.parts.push(Part::ShortFraction("")),
            ("0", 'S') => self.calendar("%S"),
            (_, 'S') if digits().is_some() => {
                self.calendar("%S.");
                self.parts.extend(digits().map(Part::Fraction));
            }
            (_, 'f') if digits().is_some() => self.parts.extend(digits().map(Part::Fraction)),
            _ => self.literal(conversion),
        }
    }
}

/// How long the conversion at the start of `text` is: `%`, flags, width, `E` or `O` with digits or a star, a letter.
fn conversion_length(text: &str) -> usize {
    let modifier = |c: char| c.is_ascii_digit() || "-_^#:EO*".contains(c);
    let letter = text.char_indices().skip(1).find(|&(_, c)| !modifier(c));
    letter.map_or(text.len(), |(at, c)| at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Monday, 23 November 2026, 14:03:33.433518.
    fn sample() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(1_795_442_613, 433_518_000)
    }

    fn printed(format: &str) -> String {
        TimeFormat::parse(format, false).unwrap().of(sample()).unwrap().to_string()
    }

    /// What Envoy 1.40 printed for the same moment.
    #[test]
    fn times_are_printed_as_envoy_prints_them() {
        for (format, expected) in [
            ("", "2026-11-23T14:03:33.433Z"),
            ("%Y-%m-%dT%H:%M:%S", "2026-11-23T14:03:33"),
            ("%s", "1795442613"),
            ("%s.%3f", "1795442613.433"),
            ("%s%f", "1795442613433518000"),
            ("%f.%1f.%2f.%3f", "433518000.4.43.433"),
            ("%4f", "4335"),
            ("%E3S", "33.433"),
            ("%E*S", "33.433518"),
            ("%E6f", "433518"),
            ("%E10f", "4335180000"),
            ("%E0S", "33"),
            ("%ES", "%ES"),
            ("%3S", "033"),
            ("%a %A %b %B", "Mon Monday Nov November"),
            ("%d/%b/%Y:%T %z", "23/Nov/2026:14:03:33 +0000"),
            ("%y %j %e %I %p %P", "26 327 23 02 PM pm"),
            ("%U %w %u", "47 1 1"),
            ("%D %F %R %h %C", "11/23/26 2026-11-23 14:03 Nov 20"),
            ("%c", "Mon Nov 23 14:03:33 2026"),
            ("%x %X %r", "11/23/26 14:03:33 02:03:33 PM"),
            ("%G-%V %g", "2026-48 26"),
            ("%k|%l", "14| 2"),
            ("%Z %Ez %:z %::z %E4Y %ET", "UTC +00:00 +00:00 +00:00:00 2026 T"),
            ("%-d%_d", "2323"),
            ("%%", "%"),
            ("%", "%"),
            ("%q %N %L %O %0f", "%q %N %L %O %0f"),
            ("%t|", "\t|"),
            ("abc é", "abc é"),
        ] {
            assert_eq!(printed(format), expected, "{format}");
        }
    }

    #[test]
    fn a_whole_second_has_no_short_fraction() {
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(61);
        let format = TimeFormat::parse("%E*S|%E*f|%E3S", false).unwrap();
        assert_eq!(format.of(whole).unwrap().to_string(), "01||01.000");
    }

    #[test]
    fn local_times_carry_their_offset() {
        let mut format = TimeFormat::parse("", true).unwrap();
        format.zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(19_800).unwrap());
        assert_eq!(format.of(sample()).unwrap().to_string(), "2026-11-23T19:33:33.433+0530");
    }

    #[test]
    fn line_breaks_are_refused() {
        for format in ["%n", "%-n", "%3En", "a%On"] {
            assert!(TimeFormat::parse(format, false).is_err(), "{format}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_format_panics(format in "[%a-zA-Z0-9*:_#^ é-]{0,20}") {
            if let Ok(format) = TimeFormat::parse(&format, false) {
                let _ = format.of(sample()).unwrap().to_string();
            }
        }
    }
}
