//! Where runtime keys come from: `envoy.config.bootstrap.v3.LayeredRuntime`.

use serde::Deserialize;
use underpass_core::config::Struct;

/// `envoy.config.bootstrap.v3.LayeredRuntime`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LayeredRuntime {
    /// The layers; a key of a later one wins.
    pub layers: Vec<RuntimeLayer>,
}

/// `envoy.config.bootstrap.v3.RuntimeLayer`. Exactly one of the layers is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RuntimeLayer {
    /// The name, unique among the layers.
    pub name: String,
    /// Keys in the configuration itself.
    pub static_layer: Option<Struct>,
    /// Keys that are set through the admin interface; at most one layer of this kind.
    pub admin_layer: Option<AdminLayer>,
}

/// `envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer`; being there is all it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct AdminLayer {}
