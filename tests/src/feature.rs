//! Runtime keys `underpass.features.…`: what is seen with a difference from Envoy and without it.

use serde_json::{Value, json};

use crate::{Proxy, Start, With};

/// Starts a configuration as it is, with a feature turned off, and with `--compat envoy`; what is seen each time.
#[track_caller]
pub fn compare<T>(feature: &str, config: &Value, see: impl Fn(&Proxy) -> T) -> [T; 3] {
    let off = json!({ "name": "off", "static_layer": { format!("underpass.features.{feature}"): false } });
    let without = config.clone().with(json!({ "layered_runtime": { "layers": [off] } }));
    [
        see(&Proxy::start(config.clone())),
        see(&Proxy::start(without)),
        see(&Start::new(config.clone()).arguments(["--compat", "envoy"]).start()),
    ]
}
