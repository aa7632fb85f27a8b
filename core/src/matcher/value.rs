//! Conditions on values of metadata (`envoy/type/matcher/v3/value.proto`, `number.proto`).

use serde::Deserialize;

use super::StringMatcher;
use crate::config::Value;

/// `envoy.type.matcher.v3.ValueMatcher`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueMatcher {
    /// The value is `null`.
    NullMatch(NullMatch),
    /// The value is a number that fulfils this.
    DoubleMatch(DoubleMatcher),
    /// The value is a text that fulfils this.
    StringMatch(StringMatcher),
    /// The value is this boolean.
    BoolMatch(bool),
    /// There is a value; `false` matches nothing.
    PresentMatch(bool),
    /// The value is a list of which an element fulfils this.
    ListMatch(ListMatcher),
    /// The value fulfils one of these.
    OrMatch(OrMatcher),
}

/// `envoy.type.matcher.v3.ValueMatcher.NullMatch`, which has nothing to say.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct NullMatch {}

/// `envoy.type.matcher.v3.DoubleMatcher`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoubleMatcher {
    /// A number in this range.
    Range(DoubleRange),
    /// This number.
    Exact(f64),
}

/// `envoy.type.v3.DoubleRange`: from `start`, included, to `end`, not included.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct DoubleRange {
    /// The first number of the range.
    pub start: f64,
    /// The first number after the range.
    pub end: f64,
}

/// `envoy.type.matcher.v3.ListMatcher`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListMatcher {
    /// An element fulfils this.
    OneOf(Box<ValueMatcher>),
}

/// `envoy.type.matcher.v3.OrMatcher`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OrMatcher {
    /// The conditions, of which one is enough.
    pub value_matchers: Vec<ValueMatcher>,
}

impl ValueMatcher {
    /// Whether the value fulfils the condition; `None` is a value that is not there.
    pub fn matches(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return self.matches_nothing() };
        match self {
            Self::NullMatch(_) => *value == Value::Null,
            Self::DoubleMatch(matcher) => value.as_f64().is_some_and(|number| matcher.matches(number)),
            Self::StringMatch(matcher) => value.as_str().is_some_and(|text| matcher.matches(text)),
            Self::BoolMatch(wanted) => value.as_bool() == Some(*wanted),
            Self::PresentMatch(wanted) => *wanted,
            Self::ListMatch(ListMatcher::OneOf(matcher)) => {
                value.as_list().is_some_and(|list| list.iter().any(|element| matcher.matches(Some(element))))
            }
            Self::OrMatch(matcher) => {
                matcher.value_matchers.iter().any(|matcher| matcher.matches(Some(value)))
            }
        }
    }

    /// Only alternatives can hold for a value that is not there, and only if one of them does.
    fn matches_nothing(&self) -> bool {
        match self {
            Self::OrMatch(matcher) => matcher.value_matchers.iter().any(Self::matches_nothing),
            _ => false,
        }
    }
}

impl DoubleMatcher {
    /// Whether the number fulfils the condition.
    pub fn matches(self, number: f64) -> bool {
        match self {
            Self::Range(range) => (range.start..range.end).contains(&number),
            #[expect(clippy::float_cmp, reason = "the config asks for this number and no other")]
            Self::Exact(wanted) => number == wanted,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::{
        config::{ConfigPath, Reader, parse_yaml},
        extension::ExtensionSet,
    };

    /// Reads a message from YAML; the error is the report.
    pub(in crate::matcher) fn read<T: DeserializeOwned>(yaml: &str, message: &str) -> Result<T, String> {
        let document = parse_yaml("x.yaml", yaml).unwrap();
        let extensions = ExtensionSet::with([]).unwrap();
        let reader = Reader::new(&extensions);
        let value = reader.read(&document.root, ConfigPath::root(), message);
        value.ok_or_else(|| reader.into_report().to_string())
    }

    #[test]
    fn each_kind_of_value_has_its_conditions() {
        let list = Value::List(vec![Value::Number(1.0), Value::String("two".into())]);
        for (config, value, expected) in [
            ("null_match: {}", Value::Null, true),
            ("null_match: {}", Value::Bool(false), false),
            ("double_match: {exact: 1.5}", Value::Number(1.5), true),
            ("double_match: {range: {start: 1, end: 2}}", Value::Number(1.0), true),
            ("double_match: {range: {start: 1, end: 2}}", Value::Number(2.0), false),
            ("double_match: {exact: 1.5}", Value::String("1.5".into()), false),
            ("string_match: {prefix: t}", Value::String("two".into()), true),
            ("string_match: {prefix: t}", Value::Bool(true), false),
            ("bool_match: false", Value::Bool(false), true),
            ("bool_match: true", Value::Bool(false), false),
            ("present_match: true", Value::Bool(false), true),
            ("present_match: false", Value::Bool(false), false),
            ("list_match: {one_of: {string_match: {exact: two}}}", list.clone(), true),
            ("list_match: {one_of: {double_match: {exact: 2}}}", list, false),
            ("or_match: {value_matchers: [{bool_match: true}, {null_match: {}}]}", Value::Null, true),
            ("or_match: {value_matchers: [{bool_match: true}, {null_match: {}}]}", Value::Bool(false), false),
        ] {
            let matcher: ValueMatcher = read(config, "envoy.type.matcher.v3.ValueMatcher").unwrap();
            assert_eq!(matcher.matches(Some(&value)), expected, "{config} on {value:?}");
            assert!(!matcher.matches(None), "{config} on nothing");
        }
    }
}
