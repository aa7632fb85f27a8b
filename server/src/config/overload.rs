//! Limits of the whole process: `envoy.config.overload.v3.OverloadManager`.

use serde::Deserialize;
use underpass_core::config::RawTypedConfig;

/// `envoy.config.overload.v3.OverloadManager`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OverloadManager {
    /// What is watched.
    pub resource_monitors: Vec<ResourceMonitor>,
}

/// `envoy.config.overload.v3.ResourceMonitor`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceMonitor {
    /// What the user calls it.
    pub name: String,
    /// What it is.
    pub typed_config: Option<RawTypedConfig>,
}
