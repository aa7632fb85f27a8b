//! What to say about an `@type` that no extension of the category has.

use std::fmt;

use super::{ExtensionSet, ours};
use crate::config::{known, nearest_type};

/// No linked extension of the category has this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownType {
    /// The category that was expected.
    pub category: &'static str,
    /// The message name that was found.
    pub type_name: String,
    hint: Hint,
    linked: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hint {
    /// It is one of another category.
    Other(&'static str),
    /// A package of ours has it, which is not linked.
    NotLinked(&'static str),
    /// Envoy has it.
    Envoy,
    /// It is perhaps this one, misspelt.
    Nearest(&'static str),
    None,
}

impl UnknownType {
    pub(super) fn new(set: &ExtensionSet, category: &'static str, type_name: &str) -> Self {
        let of_category = |(name, registration): (&'static str, &'static super::Registration)| {
            (registration.category == category).then_some(name)
        };
        let other = set.types().find(|(name, _)| *name == type_name);
        let hint = if let Some((_, registration)) = other {
            Hint::Other(registration.category)
        } else if let Some(package) = ours::package(type_name) {
            Hint::NotLinked(package)
        } else if known::message(type_name).is_some() {
            Hint::Envoy
        } else if let Some(nearest) = nearest_type(type_name, set.types().filter_map(of_category)) {
            Hint::Nearest(nearest)
        } else {
            Hint::None
        };
        let mut linked: Vec<_> = set
            .types()
            .filter(|(name, registration)| {
                registration.category == category && registration.type_names[0] == *name
            })
            .map(|(name, _)| name)
            .collect();
        linked.sort_unstable();
        Self { category, type_name: type_name.to_owned(), hint, linked }
    }
}

impl fmt::Display for UnknownType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} type `{}`", self.category, self.type_name)?;
        match self.hint {
            Hint::Other(category) => write!(f, ": it is a {category}")?,
            Hint::NotLinked(package) => {
                let module = package.replace('-', "_");
                write!(f, ": the crate {package} provides it, which `use {module} as _;` links")?;
            }
            Hint::Envoy => write!(f, ": Envoy knows this type, Underpass does not implement it yet")?,
            Hint::Nearest(name) => write!(f, ": did you mean `{name}`?")?,
            Hint::None => {}
        }
        match &self.linked[..] {
            [] => write!(f, " (no {} is linked)", self.category),
            linked => write!(f, " (linked: {})", linked.join(", ")),
        }
    }
}

impl std::error::Error for UnknownType {}
