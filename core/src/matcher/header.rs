//! Conditions on a header (`envoy.config.route.v3.HeaderMatcher`).

use serde::Deserialize;

use super::{RegexMatcher, StringMatcher};
use crate::config::{Int64Range, NonEmptyString, one_of};

/// `envoy.config.route.v3.HeaderMatcher`, with its old ways to say `string_match`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawHeaderMatcher")]
pub struct HeaderMatcher {
    name: String,
    condition: Condition,
    invert: bool,
    missing_is_empty: bool,
}

#[derive(Debug, Clone)]
enum Condition {
    Present(bool),
    Text(StringMatcher),
    Range(Int64Range),
}

#[derive(Deserialize)]
struct RawHeaderMatcher {
    name: NonEmptyString,
    #[serde(default)]
    exact_match: Option<String>,
    #[serde(default)]
    safe_regex_match: Option<RegexMatcher>,
    #[serde(default)]
    range_match: Option<Int64Range>,
    #[serde(default)]
    present_match: Option<bool>,
    #[serde(default)]
    prefix_match: Option<String>,
    #[serde(default)]
    suffix_match: Option<String>,
    #[serde(default)]
    contains_match: Option<String>,
    #[serde(default)]
    string_match: Option<StringMatcher>,
    #[serde(default)]
    invert_match: bool,
    #[serde(default)]
    treat_missing_header_as_empty: bool,
}

impl HeaderMatcher {
    /// The name of the header, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a header that a message has once or several times fulfils the condition: as in Envoy, one of its values is
    /// enough, and none may where the condition is inverted.
    pub fn matches_any<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> bool {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return self.matches(None);
        }
        if self.invert {
            values.all(|value| self.matches(Some(value)))
        } else {
            values.any(|value| self.matches(Some(value)))
        }
    }

    /// Whether the header's value fulfils the condition; `None` is a header that is not there.
    ///
    /// A header that is not there fulfils no condition but `present_match`, and `invert_match` does not change that.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let value = value.or(self.missing_is_empty.then_some(""));
        let matches = match (&self.condition, value) {
            (Condition::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => return false,
            (Condition::Text(matcher), Some(value)) => matcher.matches(value),
            (Condition::Range(range), Some(value)) => {
                value.parse().is_ok_and(|number: i64| (range.start..range.end).contains(&number))
            }
        };
        matches != self.invert
    }
}

impl TryFrom<RawHeaderMatcher> for HeaderMatcher {
    type Error = String;

    fn try_from(raw: RawHeaderMatcher) -> Result<Self, String> {
        let set = [
            ("exact_match", raw.exact_match.is_some()),
            ("safe_regex_match", raw.safe_regex_match.is_some()),
            ("range_match", raw.range_match.is_some()),
            ("present_match", raw.present_match.is_some()),
            ("prefix_match", raw.prefix_match.is_some()),
            ("suffix_match", raw.suffix_match.is_some()),
            ("contains_match", raw.contains_match.is_some()),
            ("string_match", raw.string_match.is_some()),
        ];
        one_of("header_match_specifier", &set)?;
        let text = raw
            .string_match
            .or_else(|| raw.exact_match.map(StringMatcher::exact))
            .or_else(|| raw.prefix_match.map(StringMatcher::prefix))
            .or_else(|| raw.suffix_match.map(StringMatcher::suffix))
            .or_else(|| raw.contains_match.map(StringMatcher::contains))
            .or_else(|| raw.safe_regex_match.map(StringMatcher::regex));
        let condition = match (text, raw.range_match) {
            (Some(text), _) => Condition::Text(text),
            (None, Some(range)) => Condition::Range(range),
            (None, None) => Condition::Present(raw.present_match.unwrap_or(true)),
        };
        Ok(Self {
            name: raw.name.to_ascii_lowercase(),
            condition,
            invert: raw.invert_match,
            missing_is_empty: raw.treat_missing_header_as_empty,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access_log::HeaderFilter, matcher::value::tests::read};

    fn matcher(config: &str) -> Result<HeaderMatcher, String> {
        let config = format!("header: {config}");
        read(&config, "envoy.config.accesslog.v3.HeaderFilter").map(|filter: HeaderFilter| filter.header)
    }

    /// The rules are those of Envoy's `source/common/http/header_utility.cc`.
    #[test]
    fn a_header_matches_by_its_value() {
        for (config, value, expected) in [
            ("{name: x}", Some(""), true),
            ("{name: x}", None, false),
            ("{name: x, present_match: false}", None, true),
            ("{name: x, present_match: true, invert_match: true}", None, true),
            ("{name: x, exact_match: a}", Some("a"), true),
            ("{name: x, exact_match: a, invert_match: true}", Some("a"), false),
            ("{name: x, exact_match: a, invert_match: true}", None, false),
            ("{name: x, prefix_match: a}", Some("ab"), true),
            ("{name: x, suffix_match: a}", Some("ab"), false),
            ("{name: x, contains_match: b}", Some("abc"), true),
            ("{name: x, safe_regex_match: {regex: '[0-9]+'}}", Some("12x"), false),
            ("{name: x, range_match: {start: -10, end: 0}}", Some("-1"), true),
            ("{name: x, range_match: {start: -10, end: 0}}", Some("0"), false),
            ("{name: x, range_match: {start: -10, end: 0}}", Some("-1 "), false),
            ("{name: x, string_match: {exact: ''}, treat_missing_header_as_empty: true}", None, true),
            (
                "{name: x, string_match: {exact: a}, treat_missing_header_as_empty: true, invert_match: true}",
                None,
                true,
            ),
        ] {
            assert_eq!(matcher(config).unwrap().matches(value), expected, "{config} on {value:?}");
        }
    }

    /// Envoy 1.40 was asked, with two lines of one header.
    #[test]
    fn one_of_several_values_is_enough() {
        for (config, values, expected) in [
            ("{name: x, exact_match: a}", &["a", "b"][..], true),
            ("{name: x, exact_match: a}", &["b", "a"], true),
            ("{name: x, exact_match: 'a,b'}", &["a", "b"], false),
            ("{name: x, exact_match: a, invert_match: true}", &["b", "a"], false),
            ("{name: x, exact_match: a, invert_match: true}", &["b", "c"], true),
            ("{name: x, exact_match: a, invert_match: true}", &[], false),
            ("{name: x, present_match: false}", &[], true),
        ] {
            let matches = matcher(config).unwrap().matches_any(values.iter().copied());
            assert_eq!(matches, expected, "{config} on {values:?}");
        }
    }

    #[test]
    fn names_are_compared_in_lower_case() {
        assert_eq!(matcher("{name: X-Kind}").unwrap().name(), "x-kind");
    }

    #[test]
    fn two_conditions_are_refused() {
        insta::assert_snapshot!(matcher("{name: x, exact_match: a, prefix_match: b}").unwrap_err(), @"x.yaml:1:9: error: header: only one of exact_match, prefix_match can be set (header_match_specifier)");
    }
}
