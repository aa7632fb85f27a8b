//! Extensions: what a configuration names by `@type`, each in a crate of its own that registers itself when it is
//! linked.
//!
//! A kind of extension, a *category*, is a trait on config types, declared by any crate:
//!
//! ```
//! use underpass_core::extension::{Category, typetag};
//!
//! #[typetag::deserialize(tag = "@type")]
//! pub trait GreeterConfig: std::fmt::Debug + Send + Sync {
//!     fn greet(&self) -> String;
//! }
//!
//! impl Category for dyn GreeterConfig {
//!     const NAME: &'static str = "greeter";
//! }
//! ```
//!
//! An extension is an implementation of it with the [`extension`](macro@crate::extension) attribute, in the same crate
//! or another:
//!
//! ```
//! # use underpass_core::extension::{Category, typetag};
//! # #[typetag::deserialize(tag = "@type")]
//! # pub trait GreeterConfig: std::fmt::Debug + Send + Sync { fn greet(&self) -> String; }
//! # impl Category for dyn GreeterConfig { const NAME: &'static str = "greeter"; }
//! #[derive(Debug, serde::Deserialize)]
//! struct Polite {
//!     name: String,
//! }
//!
//! /// Greets by name.
//! #[underpass_core::extension(
//!     name = "example.greeters.polite",
//!     type_url = "type.googleapis.com/example.greeters.v1.Polite"
//! )]
//! impl GreeterConfig for Polite {
//!     fn greet(&self) -> String {
//!         format!("Good morning, {}", self.name)
//!     }
//! }
//! ```
//!
//! A config type holds it as [`TypedConfig<dyn GreeterConfig>`](crate::config::TypedConfig), and the
//! [`Reader`](crate::config::Reader) resolves it among an [`ExtensionSet`].

use std::any::Any;

use crate::config::{Refused, TypedNode};

mod fields;
mod ours;
mod set;
mod unknown_type;

/// For crates that declare a category.
pub use typetag;

pub use self::{
    fields::{Fields, fields_of},
    set::{ExtensionSet, RegistryError},
    unknown_type::UnknownType,
};

/// A kind of extension, implemented for the trait object of its config trait.
pub trait Category: 'static {
    /// What it is called in messages and lists: "network filter".
    const NAME: &'static str;
}

/// What the [`extension`](macro@crate::extension) attribute says about an extension.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// The [`Category::NAME`].
    pub category: &'static str,
    /// The extension's name in Envoy: `envoy.filters.network.tcp_proxy`.
    pub name: &'static str,
    /// The message names of its config, without the part up to the last `/`; the first one is canonical, the others
    /// are aliases, such as those of older API versions. Empty for what is found by name.
    pub type_names: &'static [&'static str],
    /// The crate that provides it.
    pub provider: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// The fields of its config.
    pub fields: fn() -> Fields,
    /// Reads its config.
    pub read: ReadConfig,
}

impl Registration {
    /// An extension that is found by its name and has no config of its own, such as a client connection factory.
    pub const fn named(
        category: &'static str,
        name: &'static str,
        provider: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            category,
            name,
            type_names: &[],
            provider,
            doc,
            fields: || Fields::Named(&[]),
            read: |node| node.read::<()>(),
        }
    }

    /// The canonical type URL, if it has one: `type.googleapis.com/` and the message name.
    pub fn type_url(&self) -> Option<String> {
        self.type_names.first().map(|name| format!("type.googleapis.com/{name}"))
    }
}

/// How the config of an extension is read: into a box of its type.
pub type ReadConfig = fn(TypedNode<'_>) -> Result<Box<dyn Any>, Refused>;

inventory::collect!(Registration);

/// A kind of extension that is found by name: it keeps a collection of its own, and says here how to list it.
#[derive(Debug, Clone, Copy)]
pub struct NamedExtensions(pub fn() -> Vec<&'static Registration>);

inventory::collect!(NamedExtensions);
