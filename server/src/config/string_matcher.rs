//! Conditions on a text: `envoy.type.matcher.v3.StringMatcher`.

use serde::Deserialize;

/// `envoy.type.matcher.v3.StringMatcher`. Exactly one of the patterns is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StringMatcher {
    /// The text is this.
    pub exact: Option<String>,
    /// The text starts with this.
    pub prefix: Option<String>,
    /// The text ends with this.
    pub suffix: Option<String>,
    /// The text matches this as a whole.
    pub safe_regex: Option<RegexMatcher>,
    /// The text contains this.
    pub contains: Option<String>,
    /// Whether upper and lower case are the same; not for regular expressions.
    pub ignore_case: bool,
}

/// `envoy.type.matcher.v3.RegexMatcher`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RegexMatcher {
    /// The engine (deprecated: there is one only).
    pub google_re2: Option<GoogleRe2>,
    /// The regular expression, in RE2's syntax.
    pub regex: String,
}

/// `envoy.type.matcher.v3.RegexMatcher.GoogleRE2`; its only option is about RE2 itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct GoogleRe2 {}

/// `envoy.type.matcher.v3.ListStringMatcher`: one of the patterns is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListStringMatcher {
    /// The patterns.
    pub patterns: Vec<StringMatcher>,
}
