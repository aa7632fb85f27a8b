//! Filter state: named objects that filters leave on a connection for other filters, formatters and upstream hops.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/data_sharing_between_filters>

mod address;

pub use address::AddressObject;

use std::{any::Any, collections::BTreeMap, fmt, rc::Rc, sync::Arc};

use serde::Deserialize;

use crate::extension::{NamedExtensions, Registration};

/// Something that a filter leaves on a stream under a name.
pub trait FilterStateObject: fmt::Debug + 'static {
    /// The object itself, for those who know its type.
    fn as_any(&self) -> &dyn Any;

    /// The text that `%FILTER_STATE(key:PLAIN)%` prints; `None` if it has no text form.
    fn serialize_as_string(&self) -> Option<String> {
        None
    }

    /// The value that `%FILTER_STATE(key)%` prints as JSON; by default the text form as a JSON string.
    fn serialize_as_json(&self) -> Option<serde_json::Value> {
        self.serialize_as_string().map(serde_json::Value::String)
    }

    /// One field of the object, for `%FILTER_STATE(key:FIELD:name)%`.
    fn field(&self, _name: &str) -> Option<String> {
        None
    }

    /// A hash, if connections upstream must not be shared by streams whose objects differ (Envoy's `Hashable`).
    fn hash(&self) -> Option<u64> {
        None
    }
}

/// How far an object travels with the connections that its stream opens upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SharedWithUpstream {
    /// It stays here.
    #[default]
    None,
    /// It crosses one hop.
    Once,
    /// It crosses every hop.
    Transitive,
}

/// How long an object lives. Wider scopes are shared by narrower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LifeSpan {
    /// For the filter chain of one request or connection.
    #[default]
    FilterChain,
    /// For one HTTP request.
    Request,
    /// For the downstream connection.
    Connection,
}

/// An object with the rules it was stored under.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The object.
    pub object: Rc<dyn FilterStateObject>,
    /// Whether a later `set` under the same name is refused.
    pub read_only: bool,
    /// How long it lives.
    pub life_span: LifeSpan,
    /// How far it travels.
    pub shared_with_upstream: SharedWithUpstream,
}

/// A `set` on a name whose object is read-only.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("filter state {0:?} is read-only and already set")]
pub struct ReadOnly(pub String);

/// The objects of one stream, by name.
///
/// A clone shares them until one of the two is changed; without any there is nothing but a null pointer.
#[derive(Debug, Clone, Default)]
pub struct FilterState {
    entries: Option<Rc<Entries>>,
}

type Entries = BTreeMap<Arc<str>, Entry>;

impl FilterState {
    /// Stores an object under a name; fails if what stands there is read-only.
    pub fn set(&mut self, name: impl Into<Arc<str>>, entry: Entry) -> Result<(), ReadOnly> {
        let name = name.into();
        if self.entry(&name).is_some_and(|present| present.read_only) {
            return Err(ReadOnly(name.to_string()));
        }
        self.change().insert(name, entry);
        Ok(())
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.as_ref()?.get(name)
    }

    fn change(&mut self) -> &mut Entries {
        Rc::make_mut(self.entries.get_or_insert_default())
    }

    /// The object under a name.
    pub fn get(&self, name: &str) -> Option<&Rc<dyn FilterStateObject>> {
        self.entry(name).map(|entry| &entry.object)
    }

    /// The object under a name, if it is of this type.
    pub fn get_as<T: 'static>(&self, name: &str) -> Option<&T> {
        self.get(name).and_then(|object| object.as_any().downcast_ref())
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let entries = self.entries.as_deref().map(BTreeMap::iter);
        entries.unwrap_or_default()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.entries.is_none()
    }

    /// What crosses to the next hop: ONCE and TRANSITIVE objects; there, a ONCE object is not shared any further.
    #[must_use]
    pub fn shared_with_upstream(&self) -> Self {
        let all_cross_again =
            |(_, entry): (_, &Entry)| entry.shared_with_upstream == SharedWithUpstream::Transitive;
        if self.iter().all(all_cross_again) {
            return self.clone();
        }
        let crosses = |(name, entry): (&Arc<str>, &Entry)| {
            let onward = match entry.shared_with_upstream {
                SharedWithUpstream::None => return None,
                SharedWithUpstream::Once => SharedWithUpstream::None,
                SharedWithUpstream::Transitive => SharedWithUpstream::Transitive,
            };
            Some((name.clone(), Entry { shared_with_upstream: onward, ..entry.clone() }))
        };
        let entries: Entries = self.iter().filter_map(crosses).collect();
        Self { entries: (!entries.is_empty()).then(|| Rc::new(entries)) }
    }

    /// Hashes of the shared objects that split upstream pools, in the order of their names.
    pub fn pool_hashes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.iter()
            .filter(|(_, entry)| entry.shared_with_upstream != SharedWithUpstream::None)
            .filter_map(|(name, entry)| Some((&**name, entry.object.hash()?)))
    }

    /// Takes over what came from the previous hop; what is set here already stays.
    pub fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (name, entry) in other.iter() {
            if self.entry(name).is_none() {
                self.change().insert(Arc::clone(name), entry.clone());
            }
        }
    }
}

/// Makes filter-state objects out of text, for `set_filter_state` filters; found by its name.
///
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/well_known_filter_state>
pub struct ObjectFactory {
    /// Name and provider, for the list of extensions.
    pub registration: Registration,
    /// Makes the object; the error says what is wrong with the text.
    pub create: fn(&str) -> Result<Rc<dyn FilterStateObject>, String>,
}

inventory::collect!(ObjectFactory);

inventory::submit! {
    NamedExtensions(|| inventory::iter::<ObjectFactory>().map(|factory| &factory.registration).collect())
}

/// The factory of that name, if a linked crate has one.
pub fn object_factory(name: &str) -> Option<&'static ObjectFactory> {
    inventory::iter::<ObjectFactory>().find(|factory| factory.registration.name == name)
}

/// The category under which factories are listed.
pub const OBJECT_FACTORY_CATEGORY: &str = "filter-state object factory";

/// A plain text (`envoy.string`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringObject(pub Arc<str>);

impl FilterStateObject for StringObject {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// A text that keeps upstream connections of different values apart (`envoy.hashable_string`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashableString(pub Arc<str>);

impl FilterStateObject for HashableString {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn hash(&self) -> Option<u64> {
        Some(xxhash_rust::xxh64::xxh64(self.0.as_bytes(), 0))
    }
}

/// True or false (`envoy.bool`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoolObject(pub bool);

impl BoolObject {
    /// Reads the words that Envoy (`absl::SimpleAtob`) takes, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        match word.as_str() {
            "true" | "t" | "yes" | "y" | "1" => Some(Self(true)),
            "false" | "f" | "no" | "n" | "0" => Some(Self(false)),
            _ => None,
        }
    }
}

impl FilterStateObject for BoolObject {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn serialize_as_json(&self) -> Option<serde_json::Value> {
        Some(self.0.into())
    }
}

inventory::submit! {
    ObjectFactory {
        registration: Registration::named(OBJECT_FACTORY_CATEGORY, "envoy.string", env!("CARGO_PKG_NAME"), "A plain text."),
        create: |text| Ok(Rc::new(StringObject(text.into()))),
    }
}

inventory::submit! {
    ObjectFactory {
        registration: Registration::named(
            OBJECT_FACTORY_CATEGORY,
            "envoy.hashable_string",
            env!("CARGO_PKG_NAME"),
            "A text that keeps upstream connections of different values apart.",
        ),
        create: |text| Ok(Rc::new(HashableString(text.into()))),
    }
}

inventory::submit! {
    ObjectFactory {
        registration: Registration::named(OBJECT_FACTORY_CATEGORY, "envoy.bool", env!("CARGO_PKG_NAME"), "True or false."),
        create: |text| match BoolObject::parse(text) {
            Some(object) => Ok(Rc::new(object)),
            None => Err(format!("{text:?} is neither true nor false")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, shared: SharedWithUpstream) -> Entry {
        Entry {
            object: Rc::new(StringObject(text.into())),
            read_only: true,
            life_span: LifeSpan::Connection,
            shared_with_upstream: shared,
        }
    }

    #[test]
    fn once_crosses_one_hop_and_transitive_every_hop() {
        let mut state = FilterState::default();
        state.set("own", entry("a", SharedWithUpstream::None)).unwrap();
        state.set("once", entry("b", SharedWithUpstream::Once)).unwrap();
        state.set("always", entry("c", SharedWithUpstream::Transitive)).unwrap();
        let names = |state: &FilterState| state.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let first = state.shared_with_upstream();
        assert_eq!(names(&first), ["always", "once"]);
        assert_eq!(names(&first.shared_with_upstream()), ["always"]);
    }

    #[test]
    fn a_read_only_object_stays() {
        let mut state = FilterState::default();
        state.set("k", entry("first", SharedWithUpstream::None)).unwrap();
        let refused = state.set("k", entry("second", SharedWithUpstream::None)).unwrap_err();
        assert_eq!(refused.to_string(), r#"filter state "k" is read-only and already set"#);
        assert_eq!(state.get_as::<StringObject>("k").unwrap().0.as_ref(), "first");
    }

    #[test]
    fn booleans_are_read_as_envoy_reads_them() {
        let words = ["true", "True", "1", "yes", "t", "false", "no", "on", ""];
        let read = words.map(|word| BoolObject::parse(word).map(|object| object.0));
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(read, [yes, yes, yes, yes, yes, no, no, None, None]);
        assert_eq!(BoolObject(true).serialize_as_json(), Some(serde_json::Value::Bool(true)));
    }

    #[test]
    fn only_hashable_objects_split_pools() {
        let mut state = FilterState::default();
        state.set("plain", entry("x", SharedWithUpstream::Once)).unwrap();
        let hashable =
            Entry { object: Rc::new(HashableString("x".into())), ..entry("", SharedWithUpstream::Once) };
        state.set("hashable", hashable).unwrap();
        assert_eq!(state.pool_hashes().map(|(name, _)| name).collect::<Vec<_>>(), ["hashable"]);
    }
}
