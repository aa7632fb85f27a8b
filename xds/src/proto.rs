//! The few messages that the protocol itself is made of.
//!
//! They are written by hand: with a code generator the whole of Envoy's API would come along. What they carry (listeners,
//! clusters, …) stays bytes here and becomes a config tree by core's decoder. Field numbers are those of
//! `envoy/service/discovery/v3/discovery.proto`, `envoy/config/core/v3/base.proto` and `google/protobuf/*.proto`; a field that
//! nobody looks at is left out, which protobuf's encoding allows.

mod discovery;
mod node;
mod values;

pub use self::{
    discovery::{
        ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        Resource, Status,
    },
    node::{BuildVersion, Extension, Locality, Node, SemanticVersion, user_agent},
    values::{Any, Duration, ListValue, Struct, Value, value},
};
