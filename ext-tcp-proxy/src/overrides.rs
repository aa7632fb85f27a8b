//! What other filters may decide for a single connection, by leaving an object in its filter state.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/well_known_filter_state>

use std::{any::Any, rc::Rc, sync::Arc, time::Duration};

use underpass_core::{
    extension::Registration,
    filter_state::{
        BoolObject, FilterState, FilterStateObject, OBJECT_FACTORY_CATEGORY, ObjectFactory, StringObject,
    },
};

/// The cluster of a connection (`envoy.tcp_proxy.cluster`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerConnectionCluster(pub Arc<str>);

impl PerConnectionCluster {
    /// Under which name it is left.
    pub const KEY: &'static str = "envoy.tcp_proxy.cluster";
}

impl FilterStateObject for PerConnectionCluster {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How long a connection may be silent (`envoy.tcp_proxy.per_connection_idle_timeout_ms`). Zero ends it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleTimeoutOverride(pub Duration);

impl IdleTimeoutOverride {
    /// Under which name it is left.
    pub const KEY: &'static str = "envoy.tcp_proxy.per_connection_idle_timeout_ms";
}

impl FilterStateObject for IdleTimeoutOverride {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        Some(self.0.as_millis().to_string())
    }
}

/// A port (`envoy.upstream.dynamic_port`).
#[derive(Debug, Clone, Copy)]
struct DynamicPort(u32);

impl FilterStateObject for DynamicPort {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize_as_string(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn serialize_as_json(&self) -> Option<serde_json::Value> {
        Some(self.0.into())
    }
}

/// Whether the client may send before there is an upstream connection: Envoy's older form of `max_early_data_bytes`.
pub(crate) fn receives_before_connect(state: &FilterState) -> bool {
    state.get_as::<BoolObject>("envoy.tcp_proxy.receive_before_connect").is_some_and(|object| object.0)
}

/// Whether the connection goes to its host without a tunnel, although the filter has one.
pub(crate) fn tunneling_is_disabled(state: &FilterState) -> bool {
    state.get_as::<BoolObject>(DISABLE_TUNNELING).is_some_and(|object| object.0)
}

/// The name of an object that turns tunnelling off for a connection, and of the factory that makes one.
const DISABLE_TUNNELING: &str = "envoy.tcp_proxy.disable_tunneling";

/// A whole number as `absl::SimpleAtoi` reads it: blanks around it and a plus sign are fine.
fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|error| format!("{text:?} is no whole number: {error}"))
}

macro_rules! object_factories {
    ($($name:expr, $doc:literal, $create:expr;)+) => {
        $(inventory::submit! {
            ObjectFactory {
                registration: Registration::named(OBJECT_FACTORY_CATEGORY, $name, env!("CARGO_PKG_NAME"), $doc),
                create: $create,
            }
        })+
    };
}

object_factories! {
    PerConnectionCluster::KEY, "The cluster that tcp_proxy connects a connection to.",
        |text| Ok(Rc::new(PerConnectionCluster(text.into())));
    IdleTimeoutOverride::KEY, "How many milliseconds a connection of tcp_proxy may be silent.",
        |text| Ok(Rc::new(IdleTimeoutOverride(Duration::from_millis(number(text)?))));
    DISABLE_TUNNELING, "Whether tcp_proxy connects a connection without the tunnel that it has.",
        |text| match BoolObject::parse(text) {
            Some(object) => Ok(Rc::new(object)),
            None => Err(format!("{text:?} is neither true nor false")),
        };
    "envoy.upstream.dynamic_host", "The host that a dynamic forward proxy connects to.",
        |text| Ok(Rc::new(StringObject(text.into())));
    "envoy.upstream.dynamic_port", "The port that a dynamic forward proxy connects to.",
        |text| match u32::try_from(number(text)?) {
            Ok(port) => Ok(Rc::new(DynamicPort(port))),
            Err(error) => Err(format!("{text:?} is no port: {error}")),
        };
}

#[cfg(test)]
mod tests {
    use underpass_core::filter_state::object_factory;

    use super::*;

    fn create(factory: &str, text: &str) -> Result<Rc<dyn FilterStateObject>, String> {
        (object_factory(factory).unwrap().create)(text)
    }

    #[test]
    fn idle_timeouts_are_numbers_as_envoy_reads_them() {
        for (text, read) in [("400", Some(400)), (" 400 ", Some(400)), ("+400", Some(400)), ("0", Some(0))] {
            let object = create(IdleTimeoutOverride::KEY, text).unwrap();
            let timeout = object.as_any().downcast_ref::<IdleTimeoutOverride>();
            assert_eq!(timeout.map(|timeout| timeout.0.as_millis()), read, "{text:?}");
        }
        for text in ["", "xyz", "-1", "0x10", "4e2", "18446744073709551616"] {
            assert!(create(IdleTimeoutOverride::KEY, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn objects_print_as_in_envoy() {
        let json =
            |factory, text| create(factory, text).unwrap().serialize_as_json().map(|json| json.to_string());
        assert_eq!(json(IdleTimeoutOverride::KEY, "5000").as_deref(), Some("\"5000\""));
        assert_eq!(json(PerConnectionCluster::KEY, "up"), None);
        assert_eq!(json("envoy.upstream.dynamic_host", "h").as_deref(), Some("\"h\""));
        assert_eq!(json("envoy.upstream.dynamic_port", "80").as_deref(), Some("80"));
        assert!(create("envoy.upstream.dynamic_port", "x").is_err());
    }
}
