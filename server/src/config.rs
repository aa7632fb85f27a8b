//! The messages of Envoy's configuration that belong to the engine: listeners, clusters, endpoints and the process itself.
//!
//! They are inert: what a file says, checked field by field, with Envoy's defaults. What runs is built from them elsewhere
//! (`listener`, `cluster`, …). Fields have Envoy's names and meaning
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/api>); a field of Envoy's that is missing here is not implemented,
//! and the reader says so. Lengths, ranges and required fields are checked by the reader too
//! (`underpass_core::config::known`), so nothing here repeats them.
//!
//! Wrappers (`google.protobuf.UInt32Value`) and messages whose absence has a meaning of its own are `Option`s; a method of
//! the same name with an ending such as `_or_default` applies Envoy's default where there is one.

pub mod bootstrap;
pub mod circuit_breakers;
pub mod cluster;
pub(crate) mod deprecated_http_options;
pub mod dns;
pub mod endpoint;
pub mod filter_chain;
pub mod harmless;
pub mod listener;
pub mod load_balancing;
pub mod node;
pub mod overload;
pub mod runtime;
pub mod socket;
pub mod stats;
#[cfg(test)]
mod tests;

pub use self::{bootstrap::Bootstrap, harmless::FIELDS as HARMLESS};

/// Reads a message for a test; panics with the report if there is something wrong with it.
#[cfg(test)]
pub(crate) fn read_for_test<T: serde::de::DeserializeOwned>(yaml: &str, message_type: &str) -> T {
    use underpass_core::{
        config::{ConfigPath, Reader, parse_yaml},
        extension::ExtensionSet,
    };
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    let document = parse_yaml("x.yaml", yaml).unwrap();
    let message = reader.read(&document.root, ConfigPath::root(), message_type);
    message.unwrap_or_else(|| panic!("{}", reader.into_report()))
}
