//! Endpoints as the configuration has them: addresses for hosts, or names to resolve.

use std::{net::IpAddr, path::Path, sync::Arc};

use underpass_core::{
    address::Address,
    build_context::BuildError,
    cluster::{HealthFlag, Locality},
    config::{self, ConfigPath},
};

use super::membership::{AssignmentPolicy, HostAttributes, HostSpec, PlaceSpec};
use crate::{
    config::endpoint::{ClusterLoadAssignment, Endpoint, HealthStatus, LbEndpoint, LocalityLbEndpoints},
    listener::address,
};

/// What Envoy adds to the error of an address that is none.
const HINT: &str = "Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'";

/// The greatest priority that Envoy knows.
const MAX_PRIORITY: u32 = 128;

/// What holds for all priorities.
pub(super) fn assignment_policy(assignment: Option<&ClusterLoadAssignment>) -> AssignmentPolicy {
    let policy = assignment.map(|assignment| assignment.policy.clone()).unwrap_or_default();
    AssignmentPolicy {
        overprovisioning_factor: policy.overprovisioning_factor_or_default(),
        weighted_health: policy.weighted_priority_health,
    }
}

/// The hosts of an assignment whose addresses are known, by priority. `path` is where the assignment stands.
pub(super) fn hosts(
    assignment: Option<&ClusterLoadAssignment>,
    path: &ConfigPath,
) -> Result<Vec<Vec<PlaceSpec>>, BuildError> {
    let mut priorities: Vec<Vec<PlaceSpec>> = Vec::new();
    for (index, place) in places(assignment).iter().enumerate() {
        let path = path.field("endpoints").index(index);
        let hosts = place.lb_endpoints.iter().enumerate();
        let hosts = hosts.map(|(index, endpoint)| host(endpoint, &path.field("lb_endpoints").index(index)));
        let spec = place_spec(place, hosts.collect::<Result<_, _>>()?);
        let priority = priority(place, &path)?;
        if priorities.len() <= priority {
            priorities.resize_with(priority + 1, Vec::new);
        }
        priorities[priority].push(spec);
    }
    Ok(priorities)
}

fn places(assignment: Option<&ClusterLoadAssignment>) -> &[LocalityLbEndpoints] {
    assignment.map_or(&[], |assignment| &assignment.endpoints)
}

fn place_spec(place: &LocalityLbEndpoints, hosts: Vec<HostSpec>) -> PlaceSpec {
    PlaceSpec { locality: locality(place), weight: place.load_balancing_weight.unwrap_or(0), hosts }
}

fn priority(place: &LocalityLbEndpoints, path: &ConfigPath) -> Result<usize, BuildError> {
    let too_large = || {
        let message = format!("priority {} is too large: the greatest is {MAX_PRIORITY}", place.priority);
        BuildError::at(path.field("priority"), message)
    };
    if place.priority > MAX_PRIORITY {
        return Err(too_large());
    }
    usize::try_from(place.priority).map_err(|_| too_large())
}

fn locality(place: &LocalityLbEndpoints) -> Arc<Locality> {
    let config = &place.locality;
    let (region, zone, sub_zone) = (config.region.clone(), config.zone.clone(), config.sub_zone.clone());
    Arc::new(Locality { region, zone, sub_zone })
}

fn host(endpoint: &LbEndpoint, path: &ConfigPath) -> Result<HostSpec, BuildError> {
    let path = path.field("endpoint");
    let config = endpoint.endpoint.clone().unwrap_or_default();
    let mut additional_addresses = Vec::new();
    for (index, additional) in config.additional_addresses.iter().enumerate() {
        let path = path.field("additional_addresses").index(index).field("address");
        additional_addresses.push(required(additional.address.as_ref(), &path)?);
    }
    let address = required(config.address.as_ref(), &path.field("address"))?;
    Ok(HostSpec { address, additional_addresses, attributes: attributes(endpoint, &config) })
}

fn attributes(endpoint: &LbEndpoint, config: &Endpoint) -> HostAttributes {
    HostAttributes {
        hostname: config.hostname.as_str().into(),
        metadata: Arc::new(endpoint.metadata.clone()),
        weight: endpoint.load_balancing_weight.unwrap_or(1),
        health: health_bits(endpoint.health_status),
    }
}

fn health_bits(status: HealthStatus) -> u32 {
    match status {
        HealthStatus::Unknown | HealthStatus::Healthy => 0,
        HealthStatus::Unhealthy | HealthStatus::Timeout => HealthFlag::FailedEdsHealth as u32,
        HealthStatus::Draining => HealthFlag::EdsStatusDraining as u32,
        HealthStatus::Degraded => HealthFlag::DegradedEdsHealth as u32,
    }
}

fn required(address: Option<&config::Address>, path: &ConfigPath) -> Result<Address, BuildError> {
    match address {
        Some(config) => address_of(config, path),
        None => Err(BuildError::at(path.clone(), format!("Address must be set. {HINT}"))),
    }
}

/// An address that needs no resolver.
fn address_of(config: &config::Address, path: &ConfigPath) -> Result<Address, BuildError> {
    match config {
        config::Address::SocketAddress(socket) => {
            let path = path.field("socket_address");
            let error =
                |field: &str, what: String| BuildError::at(path.field(field), format!("{what}. {HINT}"));
            if !socket.resolver_name.is_empty() {
                return Err(error(
                    "resolver_name",
                    format!("Unknown address resolver: {}", socket.resolver_name),
                ));
            }
            if socket.protocol == config::Protocol::Udp {
                let message = "UDP endpoints are not implemented yet";
                return Err(BuildError::at(path.field("protocol"), message));
            }
            if socket.named_port.is_some() {
                return Err(error("named_port", "IP resolver can't handle a named port".to_owned()));
            }
            let address = socket.address.parse::<IpAddr>();
            let ip =
                address.map_err(|_| error("address", format!("malformed IP address: {}", socket.address)))?;
            Ok(Address::Socket((ip, socket.port_value.unwrap_or(0)).into()))
        }
        config::Address::Pipe(pipe) => {
            let path = path.field("pipe").field("path");
            address::check_pipe_path(&pipe.path).map_err(|message| BuildError::at(path, message))?;
            Ok(Address::Pipe(Path::new(pipe.path.as_str()).into()))
        }
        config::Address::EnvoyInternalAddress(internal) => {
            Ok(Address::internal(internal.server_listener_name.as_str(), internal.endpoint_id.as_str()))
        }
    }
}

/// One endpoint of a cluster that resolves names.
#[derive(Debug, Clone)]
pub(super) struct ResolveTarget {
    /// The name; empty for an address that is none of the Internet's, which resolves to nothing, as in Envoy.
    pub name: Arc<str>,
    /// The port of all its addresses.
    pub port: u16,
    /// Its priority.
    pub priority: usize,
    /// The index of its place among those of its priority.
    pub place: usize,
    /// What all its hosts have in common.
    pub attributes: HostAttributes,
}

/// The names of an assignment and the places they are in, by priority.
pub(super) struct ResolveTargets {
    /// The names.
    pub targets: Vec<ResolveTarget>,
    /// The places, still without hosts.
    pub places: Vec<Vec<PlaceSpec>>,
}

/// The names of an assignment. `path` is where it stands.
pub(super) fn resolve_targets(
    assignment: Option<&ClusterLoadAssignment>,
    path: &ConfigPath,
) -> Result<ResolveTargets, BuildError> {
    let mut found = ResolveTargets { targets: Vec::new(), places: Vec::new() };
    for (index, place) in places(assignment).iter().enumerate() {
        let path = path.field("endpoints").index(index);
        let priority = priority(place, &path)?;
        if found.places.len() <= priority {
            found.places.resize_with(priority + 1, Vec::new);
        }
        let at = found.places[priority].len();
        found.places[priority].push(place_spec(place, Vec::new()));
        for (index, endpoint) in place.lb_endpoints.iter().enumerate() {
            let path = path.field("lb_endpoints").index(index).field("endpoint");
            found.targets.push(resolve_target(endpoint, priority, at, &path)?);
        }
    }
    Ok(found)
}

fn resolve_target(
    endpoint: &LbEndpoint,
    priority: usize,
    place: usize,
    path: &ConfigPath,
) -> Result<ResolveTarget, BuildError> {
    let config = endpoint.endpoint.clone().unwrap_or_default();
    if !config.additional_addresses.is_empty() {
        let message =
            "additional_addresses are for clusters of type STATIC; a name stands for all its addresses";
        return Err(BuildError::at(path.field("additional_addresses"), message));
    }
    let path = path.field("address");
    let (name, port): (Arc<str>, u16) = match &config.address {
        None => return Err(BuildError::at(path, "Address must be set")),
        Some(config::Address::SocketAddress(socket)) => {
            let path = path.field("socket_address");
            if !socket.resolver_name.is_empty() {
                let message = "STRICT_DNS and LOGICAL_DNS clusters must NOT have a custom resolver name set";
                return Err(BuildError::at(path.field("resolver_name"), message));
            }
            (socket.address.as_str().into(), socket.port_value.unwrap_or(0))
        }
        Some(config::Address::Pipe(_) | config::Address::EnvoyInternalAddress(_)) => ("".into(), 0),
    };
    let mut attributes = attributes(endpoint, &config);
    if attributes.hostname.is_empty() {
        attributes.hostname = Arc::clone(&name);
    }
    Ok(ResolveTarget { name, port, priority, place, attributes })
}
