//! Conditions on dynamic metadata (`envoy/type/matcher/v3/metadata.proto`).

use serde::Deserialize;

use super::ValueMatcher;
use crate::{
    config::{NonEmptyString, Value},
    metadata::DynamicMetadata,
};

/// `envoy.type.matcher.v3.MetadataMatcher`.
#[derive(Debug, Clone, Deserialize)]
pub struct MetadataMatcher {
    /// The namespace.
    pub filter: NonEmptyString,
    /// The keys that lead to the value.
    pub path: Vec<PathSegment>,
    /// What the value has to be.
    pub value: ValueMatcher,
    /// Whether the result is turned round.
    #[serde(default)]
    pub invert: bool,
}

/// `envoy.type.matcher.v3.MetadataMatcher.PathSegment`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathSegment {
    /// A key of a map.
    Key(NonEmptyString),
}

impl MetadataMatcher {
    /// The value that the condition is about, if it is there.
    pub fn find<'m>(&self, metadata: &'m DynamicMetadata) -> Option<&'m Value> {
        let path: Vec<&str> = self.path.iter().map(|PathSegment::Key(key)| key.as_str()).collect();
        metadata.get(&self.filter, &path)
    }

    /// Whether the metadata fulfils the condition.
    pub fn matches(&self, metadata: &DynamicMetadata) -> bool {
        self.value.matches(self.find(metadata)) != self.invert
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Struct, matcher::value::tests::read};

    #[test]
    fn the_path_leads_to_the_value() {
        let inner = Struct::from_iter([("b".to_owned(), Value::Bool(true))]);
        let mut metadata = DynamicMetadata::default();
        metadata.set("ns", Struct::from_iter([("a".to_owned(), Value::Struct(inner))]));
        for (config, expected) in [
            ("{filter: ns, path: [{key: a}, {key: b}], value: {bool_match: true}}", true),
            ("{filter: ns, path: [{key: a}, {key: b}], value: {bool_match: true}, invert: true}", false),
            ("{filter: ns, path: [{key: a}, {key: c}], value: {present_match: true}}", false),
            ("{filter: ns, path: [{key: a}, {key: c}], value: {present_match: true}, invert: true}", true),
            ("{filter: other, path: [{key: a}], value: {present_match: true}}", false),
        ] {
            let matcher: MetadataMatcher = read(config, "envoy.type.matcher.v3.MetadataMatcher").unwrap();
            assert_eq!(matcher.matches(&metadata), expected, "{config}");
        }
    }
}
