//! What a new list of hosts changes about the old one.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, atomic::AtomicU32, atomic::Ordering},
};

use underpass_core::{
    address::Address,
    cluster::{Host, HostStats, Locality},
};

use super::{DISCOVERED, HostAttributes, HostIds, HostSpec, Place, PlaceSpec};

/// The new hosts of a priority, and in what they differ from the old ones.
pub(super) struct Diff {
    /// The new hosts.
    pub places: Vec<Place>,
    /// Whether hosts came or went.
    pub members_changed: bool,
    /// Whether weights, health or the order changed.
    pub attributes_changed: bool,
}

impl Diff {
    /// Finds for each host that discovery names the one that it was before, or makes a new one.
    pub(super) fn new(
        old: &[Place],
        specs: Vec<PlaceSpec>,
        priority: usize,
        inherited: &mut Vec<Arc<Host>>,
        ids: &HostIds,
    ) -> Self {
        let mut known = Known::new(old, inherited);
        let mut builder =
            Builder { known: &mut known, ids, priority, came: false, attributes_changed: false };
        let places: Vec<_> = specs.into_iter().map(|spec| builder.place(spec)).collect();
        let Builder { came, mut attributes_changed, .. } = builder;
        let went = known.any_left();
        inherited.retain(|host| !known.taken_from_inherited.contains(&host.id));
        attributes_changed |= !same_order(old, &places) || !same_places(old, &places);
        Self { places, members_changed: came || went, attributes_changed }
    }
}

/// The hosts there were, by address.
struct Known {
    by_address: HashMap<Address, Vec<Arc<Host>>>,
    inherited: HashMap<Address, Vec<Arc<Host>>>,
    taken_from_inherited: Vec<u64>,
}

impl Known {
    fn new(old: &[Place], inherited: &[Arc<Host>]) -> Self {
        let by_address = |hosts: &mut dyn Iterator<Item = &Arc<Host>>| {
            let mut map: HashMap<Address, Vec<Arc<Host>>> = HashMap::new();
            hosts.for_each(|host| map.entry(host.address.clone()).or_default().push(Arc::clone(host)));
            // The last is taken first, and of equal hosts the order should stay.
            map.values_mut().for_each(|hosts| hosts.reverse());
            map
        };
        Self {
            by_address: by_address(&mut old.iter().flat_map(|place| &place.hosts)),
            inherited: by_address(&mut inherited.iter()),
            taken_from_inherited: Vec::new(),
        }
    }

    /// Takes the host that is meant, and says whether it comes from the version before.
    fn take(&mut self, spec: &HostSpec, locality: &Locality, priority: usize) -> Option<(Arc<Host>, bool)> {
        let find = |hosts: &mut Vec<Arc<Host>>| {
            let at = hosts.iter().rposition(|host| is_same(host, spec, locality, priority))?;
            Some(hosts.remove(at))
        };
        if let Some(host) = self.by_address.get_mut(&spec.address).and_then(find) {
            return Some((host, false));
        }
        let host = self.inherited.get_mut(&spec.address).and_then(find)?;
        self.taken_from_inherited.push(host.id);
        Some((host, true))
    }

    fn any_left(&self) -> bool {
        self.by_address.values().any(|hosts| !hosts.is_empty())
    }
}

/// Weight and health may change; everything else makes it another host.
fn is_same(host: &Host, spec: &HostSpec, locality: &Locality, priority: usize) -> bool {
    let attributes = &spec.attributes;
    host.hostname == attributes.hostname
        && host.additional_addresses == spec.additional_addresses
        && *host.locality == *locality
        && host.priority as usize == priority
        && (Arc::ptr_eq(&host.metadata, &attributes.metadata) || host.metadata == attributes.metadata)
}

struct Builder<'a> {
    known: &'a mut Known,
    ids: &'a HostIds,
    priority: usize,
    came: bool,
    attributes_changed: bool,
}

impl Builder<'_> {
    fn place(&mut self, spec: PlaceSpec) -> Place {
        let hosts = spec.hosts.into_iter().map(|host| self.host(host, &spec.locality)).collect();
        Place { locality: spec.locality, weight: spec.weight, hosts }
    }

    fn host(&mut self, spec: HostSpec, locality: &Arc<Locality>) -> Arc<Host> {
        let Some((host, inherited)) = self.known.take(&spec, locality, self.priority) else {
            self.came = true;
            return Arc::new(new_host(spec, locality, self.priority, self.ids));
        };
        self.came |= inherited;
        let HostAttributes { weight, health, .. } = spec.attributes;
        self.attributes_changed |= host.weight.swap(weight, Ordering::Relaxed) != weight;
        let before = host.health.load(Ordering::Relaxed);
        let after = (before & !DISCOVERED) | health;
        // Nobody else touches these bits, but others may be set at the same moment, so only the difference is written.
        host.health.fetch_xor(before ^ after, Ordering::Relaxed);
        self.attributes_changed |= before != after;
        host
    }
}

fn new_host(spec: HostSpec, locality: &Arc<Locality>, priority: usize, ids: &HostIds) -> Host {
    let HostSpec { address, additional_addresses, attributes } = spec;
    Host {
        id: ids.next(),
        address,
        additional_addresses,
        hostname: attributes.hostname,
        metadata: attributes.metadata,
        locality: Arc::clone(locality),
        // Envoy allows priorities up to 128.
        priority: u32::try_from(priority).unwrap_or(u32::MAX),
        weight: AtomicU32::new(attributes.weight),
        health: AtomicU32::new(attributes.health),
        stats: HostStats::default(),
        monitor: OnceLock::new(),
    }
}

fn same_order(old: &[Place], new: &[Place]) -> bool {
    let ids = |places: &[Place]| {
        places.iter().flat_map(|place| &place.hosts).map(|host| host.id).collect::<Vec<_>>()
    };
    ids(old) == ids(new)
}

/// Places without hosts mean nothing.
fn same_places(old: &[Place], new: &[Place]) -> bool {
    let facts = |places: &[Place]| {
        let places = places.iter().filter(|place| !place.hosts.is_empty());
        let facts = places.map(|place| (place.weight, Arc::clone(&place.locality), place.hosts.len()));
        facts.collect::<Vec<_>>()
    };
    facts(old) == facts(new)
}
