//! The set of extensions that a process, or a test, works with.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;

use super::{Category, NamedExtensions, Registration, UnknownType};
use crate::config::{ConfigPath, Node, Reader, Report, TypedConfig};

/// Two crates claim the same thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {category} {claimed:?} is registered by both {first} and {second}; link only one of them")]
pub struct RegistryError {
    /// The category in which they meet.
    pub category: &'static str,
    /// The message name, or the name of an extension without one.
    pub claimed: &'static str,
    /// One crate.
    pub first: &'static str,
    /// The other.
    pub second: &'static str,
}

/// An immutable set of extensions: those that are linked, or those that a test chose.
#[derive(Debug, Clone, Default)]
pub struct ExtensionSet {
    by_type: Claims,
    by_name: Claims,
}

/// Who claims what in which category.
type Claims = BTreeMap<&'static str, BTreeMap<&'static str, &'static Registration>>;

impl ExtensionSet {
    /// Every extension that is linked into this binary.
    ///
    /// # Errors
    /// If two crates claim one type in one category, or one name where extensions are found by name.
    pub fn from_inventory() -> Result<Self, RegistryError> {
        let typed = inventory::iter::<Registration>();
        let named = inventory::iter::<NamedExtensions>().flat_map(|named| named.0());
        Self::with(typed.chain(named))
    }

    /// The extensions given, for tests and for binaries that choose at run time.
    ///
    /// # Errors
    /// As [`from_inventory`](Self::from_inventory).
    pub fn with(
        registrations: impl IntoIterator<Item = &'static Registration>,
    ) -> Result<Self, RegistryError> {
        let mut set = Self::default();
        let mut registrations: Vec<_> = registrations.into_iter().collect();
        // Linkers order the inventory as they like; messages about it should not change from build to build.
        registrations
            .sort_by_key(|registration| (registration.category, registration.name, registration.provider));
        for registration in registrations {
            if registration.type_names.is_empty() {
                claim(&mut set.by_name, registration.name, registration)?;
            }
            for type_name in registration.type_names {
                claim(&mut set.by_type, type_name, registration)?;
            }
        }
        Ok(set)
    }

    /// All of them, sorted by category, name and message name.
    pub fn list(&self) -> Vec<&'static Registration> {
        let typed = self.types().filter(|(type_name, registration)| registration.type_names[0] == *type_name);
        let named = self.by_name.values().flat_map(|names| names.values().copied());
        let mut list: Vec<_> = typed.map(|(_, registration)| registration).chain(named).collect();
        list.sort_by_key(|registration| (registration.category, registration.name, registration.type_names));
        list
    }

    /// Every message name with the extension that it configures, aliases included.
    pub(super) fn types(&self) -> impl Iterator<Item = (&'static str, &'static Registration)> {
        self.by_type
            .values()
            .flat_map(|types| types.iter().map(|(name, registration)| (*name, *registration)))
    }

    /// Whether any category has this message name.
    pub(crate) fn has_type(&self, type_name: &str) -> bool {
        self.by_type.values().any(|types| types.contains_key(type_name))
    }

    /// The extension of a category whose config is the message `type_name` (what follows the last `/` of the `@type`).
    ///
    /// # Errors
    /// With what could have been meant.
    pub fn find(
        &self,
        category: &'static str,
        type_name: &str,
    ) -> Result<&'static Registration, UnknownType> {
        let found = self.by_type.get(category).and_then(|types| types.get(type_name));
        found.copied().ok_or_else(|| UnknownType::new(self, category, type_name))
    }

    /// Reads the typed config at `node`, which stands at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn resolve<C: ?Sized + Category>(
        &self,
        node: &Arc<Node>,
        path: ConfigPath,
    ) -> Result<TypedConfig<C>, Report>
    where
        TypedConfig<C>: DeserializeOwned,
    {
        let reader = Reader::new(self);
        let config = reader.read(node, path, "google.protobuf.Any");
        config.ok_or_else(|| reader.into_report())
    }
}

fn claim(
    claims: &mut Claims,
    claimed: &'static str,
    registration: &'static Registration,
) -> Result<(), RegistryError> {
    match claims.entry(registration.category).or_default().insert(claimed, registration) {
        None => Ok(()),
        Some(first) => Err(RegistryError {
            category: registration.category,
            claimed,
            first: first.provider,
            second: registration.provider,
        }),
    }
}
