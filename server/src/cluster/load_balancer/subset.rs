//! Subsets: the hosts of a cluster by what their `envoy.lb` metadata says, so that traffic can ask for some of them.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/subsets>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use underpass_core::{
    build_context::BuildError,
    cluster::Host,
    config::{ConfigPath, Value},
    stats::{Gauge, Scope},
};

use super::{Policy, PrioritySet};
use crate::{
    cluster::host_set::{HostSet, Hosts, LocalityHosts},
    config::load_balancing::{LbSubsetConfig, LbSubsetFallbackPolicy, LbSubsetSelectorFallbackPolicy},
};

/// How a cluster is split.
pub(crate) struct SubsetOptions {
    /// By which keys; none is empty.
    pub selectors: Vec<Selector>,
    /// Who is picked if no subset fits.
    pub fallback: Fallback,
    /// Whether anybody is picked if even the fallback has nobody.
    pub panic_mode_any: bool,
    default_subset: BTreeMap<String, Value>,
    list_as_any: bool,
    locality_weight_aware: bool,
    scale_locality_weight: bool,
    /// Hosts that share a subset which was to have one.
    duplicates: Gauge,
}

/// Keys by whose values hosts are told apart.
pub(crate) struct Selector {
    /// The keys.
    pub keys: BTreeSet<String>,
    /// Who is picked if no subset of these keys fits; absent, what the cluster says.
    pub fallback: Option<Fallback>,
    single_host: bool,
}

/// Who is picked if no subset fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Nobody.
    Nobody,
    /// Anybody.
    Any,
    /// A host of the default subset.
    DefaultSubset,
    /// Whom fewer of the keys find.
    Keys(BTreeSet<String>),
}

/// Names a subset: its keys and values as JSON.
pub(crate) type SubsetKey = Arc<str>;

/// The subsets of a cluster at one moment; never changed, only replaced.
pub(crate) struct Subsets {
    by_key: HashMap<SubsetKey, PrioritySet>,
    /// Empty, unless a fallback asks for it.
    pub default: PrioritySet,
    /// What the sets of each priority were made from, to know them again.
    origins: Vec<Arc<HostSet>>,
}

impl SubsetOptions {
    /// The options of a cluster; `None` if it has no subsets.
    pub(crate) fn new(
        config: &LbSubsetConfig,
        path: &ConfigPath,
        scope: &Scope,
    ) -> Result<Option<Self>, BuildError> {
        let path = path.field("lb_subset_config").field("subset_selectors");
        if config.subset_selectors.is_empty() {
            return Ok(None);
        }
        let mut selectors = Vec::new();
        for (index, selector) in config.subset_selectors.iter().enumerate() {
            let keys: BTreeSet<String> = selector.keys.iter().cloned().collect();
            let fallback = match selector.fallback_policy {
                LbSubsetSelectorFallbackPolicy::NotDefined => None,
                LbSubsetSelectorFallbackPolicy::NoFallback => Some(Fallback::Nobody),
                LbSubsetSelectorFallbackPolicy::AnyEndpoint => Some(Fallback::Any),
                LbSubsetSelectorFallbackPolicy::DefaultSubset => Some(Fallback::DefaultSubset),
                LbSubsetSelectorFallbackPolicy::KeysSubset => {
                    let fewer: BTreeSet<String> = selector.fallback_keys_subset.iter().cloned().collect();
                    check_fewer_keys(&keys, &fewer).map_err(|message| {
                        BuildError::at(path.index(index).field("fallback_keys_subset"), message)
                    })?;
                    Some(Fallback::Keys(fewer))
                }
            };
            let single_host = selector.single_host_per_subset;
            selectors.push(Selector { keys, fallback, single_host });
        }
        selectors.retain(|selector| !selector.keys.is_empty());
        let fallback = match config.fallback_policy {
            LbSubsetFallbackPolicy::NoFallback => Fallback::Nobody,
            LbSubsetFallbackPolicy::AnyEndpoint => Fallback::Any,
            LbSubsetFallbackPolicy::DefaultSubset => Fallback::DefaultSubset,
        };
        Ok(Some(Self {
            selectors,
            fallback,
            panic_mode_any: config.panic_mode_any,
            default_subset: config.default_subset.0.clone(),
            list_as_any: config.list_as_any,
            locality_weight_aware: config.locality_weight_aware,
            scale_locality_weight: config.scale_locality_weight,
            duplicates: scope.gauge("lb_subsets_single_host_per_subset_duplicate"),
        }))
    }

    /// The selector of exactly these keys.
    pub(crate) fn selector(&self, keys: &BTreeSet<String>) -> Option<&Selector> {
        self.selectors.iter().find(|selector| selector.keys == *keys)
    }

    fn wants_default_subset(&self) -> bool {
        let selectors = self.selectors.iter().filter_map(|selector| selector.fallback.as_ref());
        selectors.chain([&self.fallback]).any(|fallback| *fallback == Fallback::DefaultSubset)
    }

    /// The subsets that a host is in.
    fn keys_of(&self, host: &Host) -> Vec<(SubsetKey, bool)> {
        let mut found = Vec::new();
        for selector in &self.selectors {
            let mut combinations: Vec<BTreeMap<&str, &Value>> = vec![BTreeMap::new()];
            for key in &selector.keys {
                let values = self.values_of(host, key);
                combinations = combinations
                    .into_iter()
                    .flat_map(|so_far| {
                        values.iter().map(move |value| {
                            let mut longer = so_far.clone();
                            longer.insert(key, value);
                            longer
                        })
                    })
                    .collect();
            }
            found.extend(combinations.iter().map(|pairs| (subset_key(pairs), selector.single_host)));
        }
        found
    }

    /// What a host says for a key; with `list_as_any` that can be several values.
    fn values_of<'h>(&self, host: &'h Host, key: &str) -> &'h [Value] {
        match host.metadata.get("envoy.lb", &[key]) {
            None => &[],
            Some(Value::List(values)) if self.list_as_any => values,
            Some(value) => std::slice::from_ref(value),
        }
    }

    fn is_in_default_subset(&self, host: &Host) -> bool {
        self.default_subset.iter().all(|(key, value)| self.values_of(host, key).contains(value))
    }
}

fn check_fewer_keys(keys: &BTreeSet<String>, fewer: &BTreeSet<String>) -> Result<(), &'static str> {
    match () {
        () if fewer.is_empty() => Err("fallback_keys_subset cannot be empty"),
        () if !fewer.is_subset(keys) => Err("fallback_keys_subset must be a subset of selector keys"),
        () if fewer == keys => Err("fallback_keys_subset cannot be equal to keys"),
        () => Ok(()),
    }
}

/// The name of the subset of these keys and values.
pub(crate) fn subset_key<K: AsRef<str> + serde::Serialize, V: serde::Serialize>(
    pairs: &BTreeMap<K, V>,
) -> SubsetKey {
    // Maps with text as keys and these values can always be written.
    serde_json::to_string(pairs).unwrap_or_default().into()
}

impl Subsets {
    /// Splits the sets of a cluster; of `previous`, what was made from sets that stay is used again.
    pub(crate) fn new(
        sets: &[Arc<HostSet>],
        options: &SubsetOptions,
        policy: &Policy,
        previous: Option<&Self>,
    ) -> Self {
        let stays = |priority: usize| {
            previous.filter(|old| {
                old.origins.get(priority).is_some_and(|origin| Arc::ptr_eq(origin, &sets[priority]))
            })
        };
        let mut by_key: HashMap<SubsetKey, Vec<Option<Arc<HostSet>>>> = HashMap::new();
        let mut defaults = Vec::with_capacity(sets.len());
        let mut put = |key: SubsetKey, priority: usize, set| {
            by_key.entry(key).or_insert_with(|| vec![None; sets.len()])[priority] = Some(set);
        };
        for (priority, set) in sets.iter().enumerate() {
            if let Some(old) = stays(priority) {
                for (key, subset) in &old.by_key {
                    put(Arc::clone(key), priority, Arc::clone(&subset.sets[priority]));
                }
                defaults.push(Arc::clone(&old.default.sets[priority]));
                continue;
            }
            for (key, hosts) in group(set, options) {
                put(key, priority, Arc::new(options.narrow(set, hosts)));
            }
            let wanted = options.wants_default_subset();
            let default = set.hosts.all.iter().filter(|host| wanted && options.is_in_default_subset(host));
            defaults.push(Arc::new(options.narrow(set, default.cloned().collect())));
        }
        let finish = |(key, sets): (SubsetKey, Vec<Option<Arc<HostSet>>>)| {
            let old = previous.and_then(|old| old.by_key.get(&key));
            let sets: Vec<_> =
                sets.into_iter().map(|set| set.unwrap_or_else(|| Arc::clone(empty()))).collect();
            let subset = PrioritySet::new(sets, policy, old);
            (!subset.is_empty()).then_some((key, subset))
        };
        let by_key: HashMap<_, _> = by_key.into_iter().filter_map(finish).collect();
        let default = PrioritySet::new(defaults, policy, previous.map(|old| &old.default));
        options.duplicates.set(duplicates(sets, options));
        Self { by_key, default, origins: sets.to_vec() }
    }

    /// A subset that has hosts.
    pub(crate) fn get(&self, key: &str) -> Option<&PrioritySet> {
        self.by_key.get(key)
    }

    /// The names of the subsets that have hosts.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &SubsetKey> {
        self.by_key.keys()
    }
}

fn empty() -> &'static Arc<HostSet> {
    static EMPTY: std::sync::OnceLock<Arc<HostSet>> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| {
        Arc::new(HostSet {
            hosts: Hosts::new(Vec::new()),
            localities: Vec::new(),
            overprovisioning_factor: 100,
            weighted_health: false,
        })
    })
}

/// The hosts of a priority by subset.
fn group(set: &HostSet, options: &SubsetOptions) -> HashMap<SubsetKey, Vec<Arc<Host>>> {
    let mut groups: HashMap<SubsetKey, Vec<Arc<Host>>> = HashMap::new();
    for host in &*set.hosts.all {
        for (key, _) in options.keys_of(host) {
            groups.entry(key).or_default().push(Arc::clone(host));
        }
    }
    groups
}

/// How many hosts are in a subset that was to have one host, and has another already.
fn duplicates(sets: &[Arc<HostSet>], options: &SubsetOptions) -> u64 {
    let mut seen: BTreeSet<SubsetKey> = BTreeSet::new();
    let hosts = sets.iter().flat_map(|set| set.hosts.all.iter());
    let single = hosts.flat_map(|host| options.keys_of(host)).filter(|(_, single_host)| *single_host);
    single.filter(|(key, _)| !seen.insert(Arc::clone(key))).count() as u64
}

impl SubsetOptions {
    /// The part of a set that these hosts are.
    fn narrow(&self, set: &HostSet, hosts: Vec<Arc<Host>>) -> HostSet {
        let localities = if self.locality_weight_aware { &set.localities[..] } else { &[] };
        let localities = localities.iter().map(|place| self.narrow_place(place, &hosts)).collect();
        HostSet {
            hosts: Hosts::new(hosts),
            localities,
            overprovisioning_factor: set.overprovisioning_factor,
            weighted_health: set.weighted_health,
        }
    }

    fn narrow_place(&self, place: &LocalityHosts, among: &[Arc<Host>]) -> LocalityHosts {
        let ids: BTreeSet<_> = among.iter().map(|host| host.id).collect();
        let stay: Vec<_> = place.hosts.all.iter().filter(|host| ids.contains(&host.id)).cloned().collect();
        let weight = if self.scale_locality_weight && !place.hosts.all.is_empty() {
            scale(place.weight, stay.len(), place.hosts.all.len())
        } else {
            place.weight
        };
        LocalityHosts { weight, hosts: Hosts::new(stay) }
    }
}

/// A place's weight by its share of the subset; never less than 1, as in Envoy.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and at most the weight"
)]
fn scale(weight: u32, part: usize, whole: usize) -> u32 {
    let scaled = f64::from(weight) * part as f64 / whole as f64;
    (scaled.round() as u32).max(1)
}
