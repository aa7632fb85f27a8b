//! Replacing what a regex matches (`envoy/type/matcher/v3/regex.proto`).

use regex::{Captures, Regex, Replacer};
use serde::Deserialize;

/// `envoy.type.matcher.v3.RegexMatchAndSubstitute`: replaces every part of a text that a regex matches.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawSubstitution")]
pub struct RegexMatchAndSubstitute {
    pattern: Regex,
    substitution: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Group(usize),
}

#[derive(Deserialize)]
struct RawSubstitution {
    pattern: RawPattern,
    #[serde(default)]
    substitution: String,
}

/// A `RegexMatcher`, which matches any part of the text here.
#[derive(Deserialize)]
struct RawPattern {
    #[serde(default, rename = "google_re2")]
    _google_re2: Option<GoogleRe2>,
    #[serde(default)]
    regex: String,
}

#[derive(Deserialize)]
struct GoogleRe2 {}

impl RegexMatchAndSubstitute {
    /// The text with its matches replaced, as RE2's `GlobalReplace` does it: `\1` is the first group, `\0` the whole match.
    pub fn replace_all(&self, text: &str) -> String {
        self.pattern.replace_all(text, Parts(&self.substitution)).into_owned()
    }
}

impl TryFrom<RawSubstitution> for RegexMatchAndSubstitute {
    type Error = String;

    fn try_from(raw: RawSubstitution) -> Result<Self, String> {
        let pattern = Regex::new(&raw.pattern.regex)
            .map_err(|error| format!("{:?} is no regex: {error}", raw.pattern.regex))?;
        let substitution = parse(&raw.substitution)?;
        let groups = pattern.captures_len() - 1;
        for part in &substitution {
            if let Part::Group(group) = part
                && *group > groups
            {
                return Err(format!("the substitution asks for group {group}, and the regex has {groups}"));
            }
        }
        Ok(Self { pattern, substitution })
    }
}

/// Splits a substitution in RE2's syntax: a backslash stands before a digit or another backslash.
fn parse(substitution: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            literal.push(character);
            continue;
        }
        match characters.next() {
            Some('\\') => literal.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Group(digit as usize - '0' as usize));
            }
            _ => {
                return Err(
                    "a backslash in a substitution stands before a digit or another backslash".to_owned()
                );
            }
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

struct Parts<'a>(&'a [Part]);

impl Replacer for Parts<'_> {
    fn replace_append(&mut self, captures: &Captures<'_>, out: &mut String) {
        for part in self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |group| group.as_str())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::value::tests::read;

    fn substitution(config: &str) -> Result<RegexMatchAndSubstitute, String> {
        read(config, "envoy.type.matcher.v3.RegexMatchAndSubstitute")
    }

    /// The examples are those of Envoy's `RouteAction.regex_rewrite`.
    #[test]
    fn every_match_is_replaced() {
        for (config, text, expected) in [
            (
                r"{pattern: {regex: '^/service/([^/]+)(/.*)$'}, substitution: '\2/instance/\1'}",
                "/service/foo/v1/api",
                "/v1/api/instance/foo",
            ),
            ("{pattern: {regex: one}, substitution: two}", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            (r"{pattern: {regex: '(?i)/xxx/'}, substitution: '/yyy/'}", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            (r"{pattern: {regex: 'b'}, substitution: '[\0]\\'}", "abc", r"a[b]\c"),
            ("{pattern: {regex: x}}", "axb", "ab"),
        ] {
            assert_eq!(substitution(config).unwrap().replace_all(text), expected, "{config}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        insta::assert_snapshot!(substitution(r"{pattern: {regex: a}, substitution: '\1'}").unwrap_err(), @"x.yaml:1:1: error: the substitution asks for group 1, and the regex has 0");
        insta::assert_snapshot!(substitution(r"{pattern: {regex: a}, substitution: '\x'}").unwrap_err(), @"x.yaml:1:1: error: a backslash in a substitution stands before a digit or another backslash");
    }
}
