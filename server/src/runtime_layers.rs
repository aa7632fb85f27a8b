//! The runtime keys of the configuration: `layered_runtime`, from inert layers to those that are read.

use std::collections::{BTreeMap, BTreeSet};

use underpass_core::{
    runtime::{Layer, RuntimeSnapshot},
    stats::{Gauge, Scope},
};

use crate::config::bootstrap::Bootstrap;

/// The layers in their order. Where the configuration has none there is an admin layer, as in Envoy, so that
/// `/runtime_modify` works.
pub fn layers(bootstrap: &Bootstrap) -> Vec<Layer> {
    let configured = &bootstrap.layered_runtime.layers;
    if configured.is_empty() {
        return vec![Layer { name: "admin".into(), admin: true, values: BTreeMap::new() }];
    }
    let layer = |layer: &crate::config::runtime::RuntimeLayer| Layer {
        admin: layer.admin_layer.is_some(),
        ..Layer::from_struct(layer.name.clone(), &layer.static_layer.clone().unwrap_or_default())
    };
    configured.iter().map(layer).collect()
}

/// Handles to `runtime.*`.
pub struct RuntimeStats {
    num_layers: Gauge,
    num_keys: Gauge,
    admin_overrides_active: Gauge,
}

impl RuntimeStats {
    /// Resolves the stats below the root scope.
    pub fn new(root: &Scope) -> Self {
        let scope = root.scope("runtime");
        let gauge = |name| scope.gauge(name);
        Self {
            num_layers: gauge("num_layers"),
            num_keys: gauge("num_keys"),
            admin_overrides_active: gauge("admin_overrides_active"),
        }
    }

    /// Brings the gauges up to date; before they are shown.
    pub fn update(&self, keys: &RuntimeSnapshot) {
        let layers = keys.layers();
        let names: BTreeSet<_> = layers.iter().flat_map(|layer| layer.values.keys()).collect();
        let overridden = layers.iter().any(|layer| layer.admin && !layer.values.is_empty());
        self.num_layers.set(layers.len() as u64);
        self.num_keys.set(names.len() as u64);
        self.admin_overrides_active.set(u64::from(overridden));
    }
}
