//! Conditions on a text (`envoy/type/matcher/v3/string.proto`, `regex.proto`).

use regex::Regex;
use serde::Deserialize;

use crate::config::required_one_of;

/// `envoy.type.matcher.v3.StringMatcher`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawStringMatcher")]
pub struct StringMatcher {
    pattern: Pattern,
    ignore_case: bool,
}

#[derive(Debug, Clone)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(RegexMatcher),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStringMatcher {
    exact: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    safe_regex: Option<RegexMatcher>,
    contains: Option<String>,
    ignore_case: bool,
}

impl StringMatcher {
    /// A text that is exactly this.
    pub fn exact(text: impl Into<String>) -> Self {
        Self { pattern: Pattern::Exact(text.into()), ignore_case: false }
    }

    /// A text that starts with this.
    pub fn prefix(text: impl Into<String>) -> Self {
        Self { pattern: Pattern::Prefix(text.into()), ignore_case: false }
    }

    /// A text that ends with this.
    pub fn suffix(text: impl Into<String>) -> Self {
        Self { pattern: Pattern::Suffix(text.into()), ignore_case: false }
    }

    /// A text that contains this.
    pub fn contains(text: impl Into<String>) -> Self {
        Self { pattern: Pattern::Contains(text.into()), ignore_case: false }
    }

    /// A text that the regex matches as a whole.
    pub fn regex(regex: RegexMatcher) -> Self {
        Self { pattern: Pattern::Regex(regex), ignore_case: false }
    }

    /// Whether the text fulfils the condition. Case is ignored for ASCII letters only, as in Envoy.
    pub fn matches(&self, text: &str) -> bool {
        if !self.ignore_case {
            return self.pattern.matches(text);
        }
        self.pattern.matches(&text.to_ascii_lowercase())
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == wanted,
            Self::Prefix(wanted) => text.starts_with(wanted),
            Self::Suffix(wanted) => text.ends_with(wanted),
            Self::Contains(wanted) => text.contains(wanted),
            Self::Regex(regex) => regex.matches(text),
        }
    }

    fn to_ascii_lowercase(&self) -> Self {
        match self {
            Self::Exact(text) => Self::Exact(text.to_ascii_lowercase()),
            Self::Prefix(text) => Self::Prefix(text.to_ascii_lowercase()),
            Self::Suffix(text) => Self::Suffix(text.to_ascii_lowercase()),
            Self::Contains(text) => Self::Contains(text.to_ascii_lowercase()),
            Self::Regex(regex) => Self::Regex(regex.clone()),
        }
    }
}

impl TryFrom<RawStringMatcher> for StringMatcher {
    type Error = String;

    fn try_from(raw: RawStringMatcher) -> Result<Self, String> {
        let RawStringMatcher { exact, prefix, suffix, safe_regex, contains, ignore_case } = raw;
        let set = [
            ("exact", exact.is_some()),
            ("prefix", prefix.is_some()),
            ("suffix", suffix.is_some()),
            ("safe_regex", safe_regex.is_some()),
            ("contains", contains.is_some()),
        ];
        required_one_of("match_pattern", &set)?;
        if ignore_case && safe_regex.is_some() {
            return Err("ignore_case has no effect on safe_regex: write `(?i)` in the regex".to_owned());
        }
        let pattern = exact
            .map(Pattern::Exact)
            .or_else(|| prefix.map(Pattern::Prefix))
            .or_else(|| suffix.map(Pattern::Suffix))
            .or_else(|| contains.map(Pattern::Contains))
            .or_else(|| safe_regex.map(Pattern::Regex));
        let pattern = pattern.ok_or("no pattern is set")?;
        Ok(Self { pattern: if ignore_case { pattern.to_ascii_lowercase() } else { pattern }, ignore_case })
    }
}

/// `envoy.type.matcher.v3.RegexMatcher`: a regex in RE2's syntax, which matches the whole text or nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawRegexMatcher")]
pub struct RegexMatcher(Regex);

#[derive(Deserialize)]
struct RawRegexMatcher {
    /// The engine; there is but one.
    #[serde(default, rename = "google_re2")]
    _google_re2: Option<GoogleRe2>,
    #[serde(default)]
    regex: String,
}

/// `envoy.type.matcher.v3.RegexMatcher.GoogleRE2`, whose one option limits something that RE2 alone has.
#[derive(Deserialize)]
struct GoogleRe2 {}

impl RegexMatcher {
    /// A regex that has to match the whole text.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        // Compiled as it stands first, so that a pattern like `a)(b` cannot break out of the group.
        Regex::new(pattern)?;
        Regex::new(&format!("^(?:{pattern})$")).map(Self)
    }

    /// Whether the regex matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl TryFrom<RawRegexMatcher> for RegexMatcher {
    type Error = String;

    fn try_from(raw: RawRegexMatcher) -> Result<Self, String> {
        Self::new(&raw.regex).map_err(|error| format!("{:?} is no regex: {error}", raw.regex))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::{ValueMatcher, value::tests::read};

    fn matches(config: &str, text: &str) -> bool {
        read::<StringMatcher>(config, "envoy.type.matcher.v3.StringMatcher").unwrap().matches(text)
    }

    #[test]
    fn each_pattern_matches_its_part_of_the_text() {
        for (config, yes, no) in [
            ("exact: ab", "ab", "abc"),
            ("prefix: ab", "abc", "cab"),
            ("suffix: bc", "abc", "bca"),
            ("contains: b", "abc", "ac"),
            ("safe_regex: {regex: 'a|ab'}", "ab", "abc"),
            ("safe_regex: {google_re2: {}, regex: '(?i)AB'}", "ab", "abc"),
        ] {
            assert!(matches(config, yes), "{config}: {yes}");
            assert!(!matches(config, no), "{config}: {no}");
        }
    }

    #[test]
    fn case_is_ignored_where_that_is_asked_for() {
        assert!(matches("{prefix: AB, ignore_case: true}", "abC"));
        assert!(!matches("prefix: AB", "abC"));
        assert!(!matches("{exact: Ä, ignore_case: true}", "ä"));
    }

    #[test]
    fn what_cannot_match_is_refused_with_its_place() {
        let error = |config: &str| {
            let config = format!("string_match: {config}");
            read::<ValueMatcher>(&config, "envoy.type.matcher.v3.ValueMatcher").unwrap_err()
        };
        insta::assert_snapshot!(error("{exact: a, prefix: b}"), @"x.yaml:1:15: error: string_match: only one of exact, prefix can be set (match_pattern)");
        insta::assert_snapshot!(error("{ignore_case: true}"), @"x.yaml:1:15: error: string_match: one of exact, prefix, suffix, safe_regex, contains must be set (match_pattern)");
        insta::assert_snapshot!(error("{safe_regex: {regex: 'a)(b'}}"), @r#"
        x.yaml:1:28: error: string_match.safe_regex: "a)(b" is no regex: regex parse error:
            a)(b
             ^
        error: unopened group
        "#);
        insta::assert_snapshot!(error("{safe_regex: {regex: a}, ignore_case: true}"), @"x.yaml:1:15: error: string_match: ignore_case has no effect on safe_regex: write `(?i)` in the regex");
    }
}
