//! Who a process is: `envoy.config.core.v3.Node`.

use serde::Deserialize;
use underpass_core::config::Struct;

/// `envoy.config.core.v3.Node`, as far as logs, `/server_info` and balancing use it. The command line overrides it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Tells the processes of a service apart.
    pub id: String,
    /// The service.
    pub cluster: String,
    /// Whatever a control plane wants to know.
    pub metadata: Struct,
    /// Where the process runs.
    pub locality: Locality,
}

/// `envoy.config.core.v3.Locality`: a place, from the large to the small.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone in the region.
    pub zone: String,
    /// The part of the zone.
    pub sub_zone: String,
}
