//! Static metadata of listeners, clusters, endpoints and routes (`envoy/config/core/v3/base.proto`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{NonEmptyString, RawTypedConfig, Struct, Value};

/// `envoy.config.core.v3.Metadata`: values by namespace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// By namespace, usually the name of the filter that reads it.
    pub filter_metadata: BTreeMap<String, Struct>,
    /// Typed metadata by namespace, kept as it was written.
    pub typed_filter_metadata: BTreeMap<String, RawTypedConfig>,
}

impl Metadata {
    /// The values of a namespace.
    pub fn namespace(&self, name: &str) -> Option<&Struct> {
        self.filter_metadata.get(name)
    }

    /// The value at a path of keys below a namespace.
    pub fn get(&self, namespace: &str, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let start = self.namespace(namespace)?.get(*first)?;
        rest.iter().try_fold(start, |value, key| value.as_struct()?.get(*key))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.filter_metadata.is_empty() && self.typed_filter_metadata.is_empty()
    }
}

/// `envoy.type.metadata.v3.MetadataKey`: which value of metadata is meant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MetadataKey {
    /// The namespace.
    pub key: NonEmptyString,
    /// The keys that lead to the value.
    pub path: Vec<MetadataPathSegment>,
}

/// `envoy.type.metadata.v3.MetadataKey.PathSegment`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataPathSegment {
    /// A key of a map.
    Key(NonEmptyString),
}

impl MetadataKey {
    /// The keys that lead to the value, as look-ups want them.
    pub fn path(&self) -> Vec<&str> {
        self.path.iter().map(|MetadataPathSegment::Key(key)| key.as_str()).collect()
    }
}
