//! What ring hash and maglev share: shares of the load by weight, and the text that gives a host its places.

use std::sync::Arc;

use underpass_core::{cluster::Host, config::Value};

use crate::cluster::host_set::{HostList, HostSet, Hosts};

/// A host with its share of the load; the shares of a table add up to 1.
#[derive(Debug, Clone)]
pub(crate) struct WeightedHost {
    /// The host.
    pub host: Arc<Host>,
    /// From 0 to 1.
    pub share: f64,
}

/// Finds hosts by a hash. Built when hosts change, once for all workers.
pub(crate) trait HashTable: Send + Sync {
    /// The host for a hash; the same hash finds the same host as long as hosts do not change.
    fn find(&self, hash: u64) -> Option<&Arc<Host>>;
}

/// The hosts of a priority with their shares: the healthy ones, or in panic all.
pub(crate) fn weighted_hosts(set: &HostSet, panic: bool) -> Vec<WeightedHost> {
    let usable = |hosts: &Hosts| if panic { Arc::clone(&hosts.all) } else { Arc::clone(&hosts.healthy) };
    if set.localities.is_empty() {
        return shares(&usable(&set.hosts), 1.0).collect();
    }
    // As in Envoy, a place keeps its share when some of its hosts fail; the others of that place take over.
    let total: u64 = set.localities.iter().map(|locality| u64::from(locality.weight)).sum();
    let places = set.localities.iter().filter(|locality| locality.weight > 0);
    places
        .flat_map(|place| {
            shares(&usable(&place.hosts), f64::from(place.weight) / total as f64).collect::<Vec<_>>()
        })
        .collect()
}

fn shares(hosts: &HostList, of: f64) -> impl Iterator<Item = WeightedHost> {
    let total: u64 = hosts.iter().map(|host| u64::from(host.weight())).sum();
    hosts.iter().map(move |host| WeightedHost {
        host: Arc::clone(host),
        share: f64::from(host.weight()) * of / total as f64,
    })
}

/// The text that is hashed for a host: `hash_key` in its `envoy.lb` metadata, else its name or address.
pub(crate) fn hash_key(host: &Host, use_hostname: bool) -> String {
    let key = host.metadata.get("envoy.lb", &["hash_key"]).and_then(Value::as_str);
    match key.filter(|key| !key.is_empty()) {
        Some(key) => key.to_owned(),
        None if use_hostname => host.hostname.to_string(),
        None => host.address.to_string(),
    }
}
