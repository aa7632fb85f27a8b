//! Runtime keys: switches and numbers that can be set by name in `layered_runtime`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime>. Each intended difference from Envoy
//! that changes traffic is such a key, `underpass.features.<name>`; `--compat envoy` turns all of them off.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::config::{Denominator, FractionalPercent, RuntimeFractionalPercent, Struct, Value};

/// An intended difference from Envoy that changes traffic, or an addition to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The runtime key.
    pub key: &'static str,
    /// Whether it is on where the configuration says nothing.
    pub default: bool,
    /// What it does, for `docs/differences.md` and `--help`.
    pub doc: &'static str,
}

/// TERM drains gracefully instead of ending at once.
pub const DRAIN_ON_TERM: Feature = Feature {
    key: "underpass.features.drain_on_term",
    default: false,
    doc: "TERM drains gracefully; a second TERM stops at once",
};

/// A CONNECT that ends here passes on the end of either side and lets the other one go on.
pub const CONNECT_HALF_CLOSE: Feature = Feature {
    key: "underpass.features.connect_half_close",
    default: true,
    doc: "a CONNECT that ends here, or an upgrade, passes on half-closes as a plain connection does; Envoy ends it when the host \
          finishes first, and over HTTP/1.1 also when the client does, whose answer is lost",
};

/// A connection that passes too many internal listeners is cut.
pub const INTERNAL_HOP_LIMIT: Feature = Feature {
    key: "underpass.features.internal_hop_limit",
    default: true,
    doc: "a connection through more than underpass.max_internal_hops internal listeners is refused",
};

/// The `internal_upstream` transport passes on metadata of the request and the route as well.
pub const INTERNAL_UPSTREAM_REQUEST_METADATA: Feature = Feature {
    key: "underpass.features.internal_upstream_request_metadata",
    default: true,
    doc: "internal_upstream's passthrough_metadata also knows the kinds request and route",
};

/// A client that resets while its upstream connection is being opened is noticed at once.
pub const NOTICE_RESET_WHILE_CONNECTING: Feature = Feature {
    key: "underpass.features.notice_reset_while_connecting",
    default: true,
    doc: "a client that resets while its upstream is being connected to is noticed at once, and no attempt follows; \
          Envoy notices it when it is connected or out of attempts",
};

/// The upstream PROXY protocol header of version 2 of a stream that has no IP addresses says so.
pub const PROXY_PROTOCOL_WITHOUT_ADDRESSES: Feature = Feature {
    key: "underpass.features.proxy_protocol_without_addresses",
    default: true,
    doc: "a stream without IP addresses gets an upstream PROXY v2 header that says LOCAL, instead of none",
};

/// A client's abort is noticed also while nobody reads what it sends.
pub const TUNNEL_ABORT: Feature = Feature {
    key: "underpass.features.tunnel_abort",
    default: true,
    doc: "a client that aborts frees its tunnel on every hop at once, also while a host that takes no bytes keeps it from being \
          read; Envoy notices such a client when it reads again",
};

/// An HTTP/2 tunnel is open after any successful answer, as RFC 9110 section 9.3.6 has it.
pub const TUNNEL_ANY_SUCCESS: Feature = Feature {
    key: "underpass.features.tunnel_any_success",
    default: true,
    doc: "an HTTP/2 tunnel is open after any 2xx answer; Envoy wants a 200 there",
};

/// An HTTP/1.1 tunnel passes on how each side ends.
pub const TUNNEL_HALF_CLOSE: Feature = Feature {
    key: "underpass.features.tunnel_half_close",
    default: true,
    doc: "an HTTP/1.1 tunnel passes on half-closes and resets as a plain connection does, so a client that has finished sending \
          gets its answer, and a tunnel whose connection is lost resets its client; Envoy ends the whole tunnel in order",
};

/// A refused CONNECT keeps its status.
pub const TUNNEL_REFUSAL_STATUS: Feature = Feature {
    key: "underpass.features.tunnel_refusal_status",
    default: true,
    doc: "an HTTP client whose request was to travel through a tunnel behind an internal listener gets the status that the \
          proxy refused the tunnel with, and a body that says so; Envoy answers 503",
};

/// The wait for the answer to a CONNECT is limited.
pub const TUNNEL_RESPONSE_TIMEOUT: Feature = Feature {
    key: "underpass.features.tunnel_response_timeout",
    default: true,
    doc: "a tunnel that is not answered within underpass.tunnel_response_timeout_ms, or the cluster's connect_timeout, counts \
          as failed; Envoy waits for the idle timeout",
};

/// Every feature. `--compat envoy` turns them off.
pub const FEATURES: &[Feature] = &[
    CONNECT_HALF_CLOSE,
    DRAIN_ON_TERM,
    INTERNAL_HOP_LIMIT,
    INTERNAL_UPSTREAM_REQUEST_METADATA,
    NOTICE_RESET_WHILE_CONNECTING,
    PROXY_PROTOCOL_WITHOUT_ADDRESSES,
    TUNNEL_ABORT,
    TUNNEL_ANY_SUCCESS,
    TUNNEL_HALF_CLOSE,
    TUNNEL_REFUSAL_STATUS,
    TUNNEL_RESPONSE_TIMEOUT,
];

/// How many internal listeners a connection may pass (`underpass.max_internal_hops`), where nothing is set.
pub const DEFAULT_MAX_INTERNAL_HOPS: u64 = 32;

/// One layer of keys: a name and its flattened values.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The layer's name.
    pub name: String,
    /// Whether `/runtime_modify` may change it (an `admin_layer`).
    pub admin: bool,
    /// Values by key, `a.b.c`.
    pub values: BTreeMap<String, Value>,
}

impl Layer {
    /// A layer from a `static_layer`: nested structs become dotted keys.
    pub fn from_struct(name: impl Into<String>, values: &Struct) -> Self {
        let mut flat = BTreeMap::new();
        flatten("", values, &mut flat);
        Self { name: name.into(), admin: false, values: flat }
    }
}

fn flatten(prefix: &str, values: &Struct, out: &mut BTreeMap<String, Value>) {
    for (key, value) in values {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            // A struct with a numerator is a FractionalPercent, which is one value.
            Value::Struct(inner) if !inner.contains_key("numerator") => flatten(&key, inner, out),
            other => {
                out.insert(key, other.clone());
            }
        }
    }
}

/// The keys of a process. Reading takes a snapshot; keep it, or a value of it, where it is read often.
#[derive(Debug, Default)]
pub struct Runtime {
    snapshot: RwLock<Arc<RuntimeSnapshot>>,
}

impl Runtime {
    /// Keys from layers, the last one wins. `compat` turns every feature off, whatever the layers say.
    pub fn new(layers: Vec<Layer>, compat: bool) -> Self {
        Self { snapshot: RwLock::new(Arc::new(RuntimeSnapshot::new(layers, compat))) }
    }

    /// The present keys.
    pub fn snapshot(&self) -> Arc<RuntimeSnapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces all layers but for what operators have set: a layer of theirs keeps its values.
    pub fn replace_layers(&self, layers: Vec<Layer>) {
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let mut layers = layers;
        for layer in layers.iter_mut().filter(|layer| layer.admin) {
            if let Some(present) = snapshot.layers.iter().find(|present| present.admin) {
                layer.values.clone_from(&present.values);
            }
        }
        *snapshot = Arc::new(RuntimeSnapshot::new(layers, snapshot.compat));
    }

    /// Replaces a layer, or adds it as the last one (the admin layer, for example).
    pub fn set_layer(&self, layer: Layer) {
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let mut layers = snapshot.layers.clone();
        match layers.iter_mut().find(|present| present.name == layer.name) {
            Some(present) => *present = layer,
            None => layers.push(layer),
        }
        *snapshot = Arc::new(RuntimeSnapshot::new(layers, snapshot.compat));
    }
}

/// The keys at one moment.
#[derive(Debug, Clone)]
pub struct RuntimeSnapshot {
    layers: Vec<Layer>,
    compat: bool,
    /// Looked up once, since every hop of every connection asks for it.
    max_internal_hops: Option<u32>,
}

impl Default for RuntimeSnapshot {
    fn default() -> Self {
        Self::new(Vec::new(), false)
    }
}

impl RuntimeSnapshot {
    fn new(layers: Vec<Layer>, compat: bool) -> Self {
        let mut snapshot = Self { layers, compat, max_internal_hops: None };
        let limit = snapshot.integer("underpass.max_internal_hops", DEFAULT_MAX_INTERNAL_HOPS);
        let is_limited = snapshot.feature(INTERNAL_HOP_LIMIT);
        snapshot.max_internal_hops = is_limited.then(|| u32::try_from(limit).unwrap_or(u32::MAX));
        snapshot
    }

    /// The layers, the last one wins.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.layers.iter().rev().find_map(|layer| layer.values.get(key))
    }

    /// A switch; the words `true` and `false` count as well.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        match self.get(key) {
            Some(Value::Bool(value)) => *value,
            Some(Value::String(text)) => text.parse().unwrap_or(default),
            _ => default,
        }
    }

    /// A whole number that is not negative.
    pub fn integer(&self, key: &str, default: u64) -> u64 {
        match self.get(key) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be in range"
            )]
            Some(Value::Number(number)) if *number >= 0.0 && *number < u64::MAX as f64 => *number as u64,
            Some(Value::String(text)) => text.parse().unwrap_or(default),
            _ => default,
        }
    }

    /// A number.
    pub fn double(&self, key: &str, default: f64) -> f64 {
        match self.get(key) {
            Some(Value::Number(number)) => *number,
            Some(Value::String(text)) => text.parse().unwrap_or(default),
            _ => default,
        }
    }

    /// Whether a part of all cases includes the one with this random number.
    ///
    /// A number under the key counts as so many in a hundred, as in Envoy.
    pub fn is_enabled(&self, fraction: &RuntimeFractionalPercent, random: u64) -> bool {
        let default = fraction.default_value;
        let percent = match self.get(&fraction.runtime_key) {
            _ if fraction.runtime_key.is_empty() => default,
            Some(Value::Struct(value)) => fractional_percent(value),
            None => default,
            Some(_) => match u32::try_from(self.integer(&fraction.runtime_key, u64::MAX)) {
                Ok(numerator) => FractionalPercent { numerator, denominator: Denominator::Hundred },
                Err(_) => default,
            },
        };
        let lots: u64 = match percent.denominator {
            Denominator::Hundred => 100,
            Denominator::TenThousand => 10_000,
            Denominator::Million => 1_000_000,
        };
        random % lots < percent.numerator.into()
    }

    /// Whether a feature is on.
    pub fn feature(&self, feature: Feature) -> bool {
        !self.compat && self.boolean(feature.key, feature.default)
    }

    /// Whether the hops of a connection carry its bytes in one go (`underpass.hop_fusion`, on by default). It changes nothing
    /// that can be seen from outside but the cost, so `--compat envoy` leaves it alone.
    pub fn hop_fusion(&self) -> bool {
        self.boolean("underpass.hop_fusion", true)
    }

    /// How many internal listeners a connection may pass; `None` for any number.
    pub fn max_internal_hops(&self) -> Option<u32> {
        self.max_internal_hops
    }
}

/// A `FractionalPercent` that stands in a layer.
fn fractional_percent(value: &Struct) -> FractionalPercent {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts of floats saturate, and more than everything is everything"
    )]
    let numerator = value.get("numerator").and_then(Value::as_f64).unwrap_or_default() as u32;
    let denominator = match value.get("denominator").and_then(Value::as_str) {
        Some("TEN_THOUSAND") => Denominator::TenThousand,
        Some("MILLION") => Denominator::Million,
        _ => Denominator::Hundred,
    };
    FractionalPercent { numerator, denominator }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, values: &[(&str, Value)]) -> Layer {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Layer { name: name.into(), admin: false, values }
    }

    #[test]
    fn the_last_layer_wins() {
        let base = layer("base", &[("a", Value::Number(1.0)), ("b", Value::Bool(true))]);
        let runtime = Runtime::new(vec![base, layer("over", &[("a", Value::String("7".into()))])], false);
        let keys = runtime.snapshot();
        assert_eq!((keys.integer("a", 0), keys.boolean("b", false), keys.integer("c", 5)), (7, true, 5));
    }

    #[test]
    fn layers_are_replaced_but_for_what_operators_have_set() {
        let operators = Layer { admin: true, ..layer("admin", &[("b", Value::Number(2.0))]) };
        let runtime = Runtime::new(vec![layer("base", &[("a", Value::Number(1.0))]), operators], false);
        let admin = Layer { admin: true, ..layer("renamed", &[]) };
        runtime.replace_layers(vec![layer("base", &[("c", Value::Number(3.0))]), admin]);
        let keys = runtime.snapshot();
        assert_eq!(["a", "b", "c"].map(|key| keys.integer(key, 0)), [0, 2, 3]);
    }

    #[test]
    fn nested_structs_become_dotted_keys() {
        let mut inner = Struct::default();
        inner.insert("b".into(), Value::Bool(true));
        let mut outer = Struct::default();
        outer.insert("a".into(), Value::Struct(inner));
        assert_eq!(Layer::from_struct("l", &outer).values.keys().collect::<Vec<_>>(), ["a.b"]);
    }

    #[test]
    fn every_feature_stands_in_the_documentation() {
        let page = include_str!("../../docs/differences.md");
        for feature in FEATURES {
            let row = format!(
                "| `{}` | {} | {} |",
                feature.key,
                if feature.default { "on" } else { "off" },
                feature.doc
            );
            assert!(page.contains(&row), "docs/differences.md lacks\n{row}");
        }
    }

    #[test]
    fn compat_turns_every_feature_off() {
        let on = layer("l", &[(INTERNAL_HOP_LIMIT.key, Value::Bool(true))]);
        assert_eq!(Runtime::new(vec![on.clone()], false).snapshot().max_internal_hops(), Some(32));
        assert_eq!(Runtime::new(vec![on], true).snapshot().max_internal_hops(), None);
    }
}
