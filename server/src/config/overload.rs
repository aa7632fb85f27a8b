//! Limits of the whole process: `envoy.config.overload.v3.OverloadManager`.

use serde::Deserialize;
use underpass_core::{
    config::{RawTypedConfig, Reader, Report},
    extension::ExtensionSet,
};

/// The monitor by which Envoy limits the connections of the process.
const DOWNSTREAM_CONNECTIONS: &str =
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";

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

/// `envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DownstreamConnections {
    #[serde(rename = "@type")]
    _type_url: String,
    max_active_downstream_connections: u64,
}

impl OverloadManager {
    /// How many connections all listeners together may have; `None` for any number.
    pub fn max_downstream_connections(&self) -> Option<u64> {
        self.downstream_connections(&mut Report::new())
    }

    /// Reports what is wrong with that limit, and warns of each monitor that is not implemented: what it watches is no
    /// limit of this proxy's.
    pub fn check(&self, report: &mut Report) {
        self.downstream_connections(report);
        for monitor in self.monitors().filter(|monitor| monitor.type_name() != DOWNSTREAM_CONNECTIONS) {
            let message = format!("Underpass does not implement {}; it is ignored", monitor.type_name());
            report.warning(monitor.path().clone(), Some(monitor.node().location()), message);
        }
    }

    fn downstream_connections(&self, report: &mut Report) -> Option<u64> {
        let monitor = self.monitors().find(|monitor| monitor.type_name() == DOWNSTREAM_CONNECTIONS)?;
        let no_extensions = ExtensionSet::default();
        let reader = Reader::new(&no_extensions);
        let config = reader.read(monitor.node(), monitor.path().clone(), DOWNSTREAM_CONNECTIONS);
        report.extend(reader.into_report());
        config.map(|config: DownstreamConnections| config.max_active_downstream_connections)
    }

    fn monitors(&self) -> impl Iterator<Item = &RawTypedConfig> {
        self.resource_monitors.iter().filter_map(|monitor| monitor.typed_config.as_ref())
    }
}
