//! The runtime keys of the configuration: `layered_runtime`, from inert layers to those that are read.

use std::collections::{BTreeMap, BTreeSet};

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Struct, Value},
    runtime::{Layer, RuntimeSnapshot},
    stats::{Gauge, Scope},
};

use crate::config::bootstrap::Bootstrap;

/// Finds what Envoy refuses about the layers: a name twice, two admin layers, values that are no runtime values.
pub fn check(bootstrap: &Bootstrap) -> Result<(), BuildError> {
    let path = ConfigPath::root().field("layered_runtime").field("layers");
    let (mut names, mut admin) = (BTreeSet::new(), false);
    for (index, layer) in bootstrap.layered_runtime.layers.iter().enumerate() {
        let path = path.index(index);
        if !names.insert(&layer.name) {
            return Err(BuildError::at(path.field("name"), format!("Duplicate layer name: {}", layer.name)));
        }
        if layer.admin_layer.is_some() && std::mem::replace(&mut admin, true) {
            let message = "Too many admin layers specified in LayeredRuntime, at most one may be specified";
            return Err(BuildError::at(path.field("admin_layer"), message));
        }
        if let Some(values) = &layer.static_layer {
            check_values(values, "", &path.field("static_layer"))?;
        }
    }
    Ok(())
}

fn check_values(values: &Struct, prefix: &str, path: &ConfigPath) -> Result<(), BuildError> {
    for (key, value) in values {
        let (name, path) = (format!("{prefix}{key}"), path.field(key));
        match value {
            Value::Null | Value::List(_) => {
                let message =
                    format!("Invalid runtime entry value for {name}: a text, number or boolean is needed");
                return Err(BuildError::at(path, message));
            }
            Value::Struct(inner) => check_values(inner, &format!("{name}."), &path)?,
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{runtime::AdminLayer, runtime::RuntimeLayer};

    fn checked(layers: Vec<RuntimeLayer>) -> Result<(), String> {
        let mut bootstrap = Bootstrap::default();
        bootstrap.layered_runtime.layers = layers;
        check(&bootstrap).map_err(|error| error.to_string())
    }

    fn fixed(name: &str, value: Value) -> RuntimeLayer {
        let values = [("a".to_owned(), value)].into_iter().collect();
        RuntimeLayer { name: name.into(), static_layer: Some(values), admin_layer: None }
    }

    #[test]
    fn layers_have_names_of_their_own_and_one_of_them_may_be_changed() {
        let admin = |name: &str| RuntimeLayer {
            name: name.into(),
            static_layer: None,
            admin_layer: Some(AdminLayer {}),
        };
        let one = || fixed("one", Value::Number(1.0));
        assert_eq!(checked(vec![one(), admin("admin")]), Ok(()));
        insta::assert_snapshot!(checked(vec![one(), one()]).unwrap_err(), @"layered_runtime.layers[1].name: Duplicate layer name: one");
        insta::assert_snapshot!(checked(vec![admin("x"), admin("y")]).unwrap_err(), @"layered_runtime.layers[1].admin_layer: Too many admin layers specified in LayeredRuntime, at most one may be specified");
    }

    #[test]
    fn a_list_is_no_runtime_value() {
        let list = Value::List(vec![Value::Number(1.0)]);
        insta::assert_snapshot!(checked(vec![fixed("one", list)]).unwrap_err(), @"layered_runtime.layers[0].static_layer.a: Invalid runtime entry value for a: a text, number or boolean is needed");
    }
}
