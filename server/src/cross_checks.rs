//! Checks that need the whole configuration: do the names that listeners and clusters call each other by resolve, and
//! does a chain of internal hops lead back to itself?
//!
//! Envoy runs such a configuration and fails connection by connection, so these are warnings; only where it refuses to start,
//! as over a route to a cluster that is not there, they are errors.

use std::collections::{BTreeMap, BTreeSet};

use underpass_core::{
    build_context::BuildError,
    config::{Address, ConfigPath, Document, Report},
};

use crate::config::{
    bootstrap::Bootstrap,
    cluster::{Cluster, DiscoveryType},
    listener::Listener,
};

/// Looks through the configuration and adds warnings to the report.
pub fn check(bootstrap: &Bootstrap, document: &Document, report: &mut Report) {
    let graph = Graph::new(bootstrap);
    let warn = |report: &mut Report, path: &ConfigPath, message: String| {
        report.warning(path.clone(), Some(document.locate(path)), message);
    };
    for reference in &graph.to_clusters {
        if !graph.clusters.contains(&reference.target) {
            if let Some(refusal) = &reference.refusal {
                report.error(reference.path.clone(), Some(document.locate(&reference.path)), refusal);
                continue;
            }
            if bootstrap.dynamic_resources.cds_config.is_some() {
                continue;
            }
            let hint = "connections that need it fail until it exists (flag NC)";
            warn(report, &reference.path, format!("there is no cluster '{}'; {hint}", reference.target));
        }
    }
    for reference in &graph.to_listeners {
        let may_come = bootstrap.dynamic_resources.lds_config.is_some();
        if !may_come && !graph.internal_listeners.contains(&reference.target) {
            let hint = "connections to it fail until it exists";
            warn(
                report,
                &reference.path,
                format!("there is no internal listener '{}'; {hint}", reference.target),
            );
        }
    }
    for reference in &graph.to_listeners {
        let clusters = &bootstrap.static_resources.clusters;
        let found_by_name = clusters
            .iter()
            .any(|it| it.name == reference.source && it.discovery_type != DiscoveryType::Static);
        if found_by_name {
            let message = format!(
                "DNS knows no internal listeners: '{}' is never resolved, and cluster '{}' has no host for it",
                reference.target, reference.source
            );
            warn(report, &reference.path, message);
        }
    }
    for cycle in graph.cycles() {
        let names = cycle.names.join(" -> ");
        warn(report, &cycle.path, format!("this closes a cycle of internal hops: {names}"));
    }
}

/// The cluster that this process is a member of has to be there, as Envoy demands.
pub fn local_cluster(bootstrap: &Bootstrap) -> Result<(), BuildError> {
    let name = &bootstrap.cluster_manager.local_cluster_name;
    if name.is_empty() || bootstrap.static_resources.clusters.iter().any(|cluster| cluster.name == *name) {
        return Ok(());
    }
    let path = ConfigPath::root().field("cluster_manager").field("local_cluster_name");
    Err(BuildError::at(path, format!("local cluster '{name}' must be defined")))
}

/// The clusters that a listener cannot do without: their names, where they are named, and what is said without them.
pub fn required_clusters(listener: &Listener, path: &ConfigPath) -> Vec<(String, ConfigPath, String)> {
    let references = cluster_references(listener, path).into_iter();
    references.filter_map(|it| Some((it.target, it.path, it.refusal?))).collect()
}

/// Somebody names somebody.
struct Reference<'a> {
    /// Who: a listener or a cluster.
    source: &'a str,
    /// Whom.
    target: String,
    /// Where.
    path: ConfigPath,
    /// The error if there is no such thing, unless that is only worth a warning.
    refusal: Option<String>,
}

/// A chain of hops that leads back to its start.
struct Cycle {
    /// `listener a`, `cluster b`, …, and the first once more.
    names: Vec<String>,
    /// Where the first listener names the cluster that leads back.
    path: ConfigPath,
}

/// Who names whom.
struct Graph<'a> {
    clusters: BTreeSet<String>,
    internal_listeners: BTreeSet<String>,
    to_clusters: Vec<Reference<'a>>,
    to_listeners: Vec<Reference<'a>>,
}

impl<'a> Graph<'a> {
    fn new(bootstrap: &'a Bootstrap) -> Self {
        let resources = &bootstrap.static_resources;
        let path = ConfigPath::root().field("static_resources");
        let listeners = resources.listeners.iter().enumerate();
        let clusters = resources.clusters.iter().enumerate();
        Self {
            clusters: resources.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
            internal_listeners: resources
                .listeners
                .iter()
                .filter_map(internal_name)
                .map(str::to_owned)
                .collect(),
            to_clusters: listeners
                .flat_map(|(index, listener)| {
                    cluster_references(listener, &path.field("listeners").index(index))
                })
                .collect(),
            to_listeners: clusters
                .flat_map(|(index, cluster)| {
                    listener_references(cluster, &path.field("clusters").index(index))
                })
                .collect(),
        }
    }

    /// Each cycle once, from the first of its listeners in the file.
    fn cycles(&self) -> Vec<Cycle> {
        let hops = self.hops();
        let mut found = Vec::new();
        let mut reported = BTreeSet::new();
        for start in &self.internal_listeners {
            if reported.contains(start.as_str()) {
                continue;
            }
            if let Some(way) = way_back(start, &hops) {
                reported.extend(way.iter().map(|hop| hop.listener));
                let mut names: Vec<_> = way
                    .iter()
                    .flat_map(|hop| {
                        [format!("listener {}", hop.listener), format!("cluster {}", hop.cluster)]
                    })
                    .collect();
                names.push(format!("listener {start}"));
                found.push(Cycle { names, path: way[0].path.clone() });
            }
        }
        found
    }

    /// From each listener to the internal listeners that its clusters lead to.
    fn hops(&self) -> BTreeMap<&str, Vec<Hop<'_>>> {
        let mut hops: BTreeMap<&str, Vec<Hop<'_>>> = BTreeMap::new();
        for first in &self.to_clusters {
            for second in self.to_listeners.iter().filter(|second| second.source == first.target) {
                hops.entry(first.source).or_default().push(Hop {
                    listener: first.source,
                    cluster: &first.target,
                    next: &second.target,
                    path: &first.path,
                });
            }
        }
        hops
    }
}

#[derive(Clone, Copy)]
struct Hop<'a> {
    listener: &'a str,
    cluster: &'a str,
    next: &'a str,
    path: &'a ConfigPath,
}

/// The hops that lead from a listener back to it: a depth-first search that visits each listener once.
fn way_back<'a>(start: &str, hops: &BTreeMap<&'a str, Vec<Hop<'a>>>) -> Option<Vec<Hop<'a>>> {
    let mut visited = BTreeSet::new();
    let mut way: Vec<(Hop<'a>, &str)> = Vec::new();
    let mut pending: Vec<(usize, Hop<'a>)> = hops.get(start)?.iter().map(|hop| (0, *hop)).collect();
    while let Some((depth, hop)) = pending.pop() {
        way.truncate(depth);
        way.push((hop, hop.next));
        if hop.next == start {
            return Some(way.into_iter().map(|(hop, _)| hop).collect());
        }
        if visited.insert(hop.next) {
            pending.extend(hops.get(hop.next).into_iter().flatten().map(|next| (depth + 1, *next)));
        }
    }
    None
}

fn cluster_references<'a>(listener: &'a Listener, path: &ConfigPath) -> Vec<Reference<'a>> {
    let chains = listener.filter_chains.iter().enumerate();
    let chains = chains.map(|(index, chain)| (chain, path.field("filter_chains").index(index)));
    let default =
        listener.default_filter_chain.iter().map(|chain| (chain, path.field("default_filter_chain")));
    let source = internal_name(listener).unwrap_or(&listener.name);
    chains
        .chain(default)
        .flat_map(|(chain, _)| &chain.filters)
        .flat_map(|filter| {
            filter.typed_config.cluster_references().into_iter().map(|reference| Reference {
                source,
                target: reference.cluster,
                refusal: reference.refusal,
                path: filter.typed_config.path().below(&reference.field),
            })
        })
        .collect()
}

fn listener_references<'a>(cluster: &'a Cluster, path: &ConfigPath) -> Vec<Reference<'a>> {
    let Some(assignment) = &cluster.load_assignment else { return Vec::new() };
    let path = path.field("load_assignment").field("endpoints");
    let localities = assignment.endpoints.iter().enumerate();
    localities
        .flat_map(|(index, locality)| {
            let path = path.index(index).field("lb_endpoints");
            locality.lb_endpoints.iter().enumerate().filter_map(move |(index, endpoint)| {
                match endpoint.endpoint.as_ref()?.address.as_ref()? {
                    Address::EnvoyInternalAddress(address) => {
                        Some((address.server_listener_name.clone(), path.index(index)))
                    }
                    _ => None,
                }
            })
        })
        .map(|(target, path)| Reference { source: &cluster.name, target, path, refusal: None })
        .collect()
}

/// The name by which an internal listener is reached: its own, or the one of the old form of its address.
fn internal_name(listener: &Listener) -> Option<&str> {
    match &listener.address {
        Some(Address::EnvoyInternalAddress(address)) => Some(&address.server_listener_name),
        _ => listener.internal_listener.map(|_| listener.name.as_str()),
    }
}
