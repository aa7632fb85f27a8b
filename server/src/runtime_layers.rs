//! The runtime keys of the configuration: `layered_runtime`, from inert layers to those that are read.

use std::collections::BTreeMap;

use underpass_core::runtime::Layer;

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
