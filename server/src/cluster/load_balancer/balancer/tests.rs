use underpass_core::{
    cluster::Host,
    config::{ConfigPath, Metadata, Struct},
    stats::Store,
};

use super::*;
use crate::{
    cluster::{
        host_set::tests::{host, host_set},
        load_balancer::{PolicyKind, tests::policy},
    },
    config::load_balancing::{
        LbSubsetConfig, LbSubsetFallbackPolicy, LbSubsetSelector, LbSubsetSelectorFallbackPolicy,
    },
};

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// A host with `envoy.lb` metadata.
fn labelled(port: u16, labels: &[(&str, Value)]) -> Arc<Host> {
    let mut host = Arc::into_inner(host(port, 1)).unwrap();
    let labels: Struct = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut metadata = Metadata::default();
    metadata.filter_metadata.insert("envoy.lb".to_owned(), labels);
    host.metadata = Arc::new(metadata);
    Arc::new(host)
}

fn selector(keys: &[&str]) -> LbSubsetSelector {
    LbSubsetSelector {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..LbSubsetSelector::default()
    }
}

struct Cluster {
    balancer: Balancer,
    policy: Policy,
    candidates: Candidates,
}

/// Three hosts: 1 and 2 are version 1 in stages prod and dev, 3 is version 2 in stage prod.
fn cluster(config: &LbSubsetConfig) -> Cluster {
    let scope = Store::new(1).scope("cluster.up");
    let subsets = SubsetOptions::new(config, &ConfigPath::root(), &scope).unwrap();
    let policy = Policy { subsets, ..policy(PolicyKind::RoundRobin) };
    let set = host_set(vec![
        labelled(1, &[("version", text("1")), ("stage", text("prod"))]),
        labelled(2, &[("version", text("1")), ("stage", text("dev"))]),
        labelled(3, &[("version", text("2")), ("stage", text("prod"))]),
    ]);
    let candidates = Candidates::new(vec![set], &policy, None);
    Cluster { balancer: Balancer::default(), policy, candidates }
}

impl Cluster {
    /// The ports that some picks give, each once.
    fn ports(&self, wanted: &[(&str, &str)]) -> Vec<u16> {
        let wanted = wanted.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
        let context = LoadBalancerContext { metadata_match: Some(&wanted), ..LoadBalancerContext::default() };
        let pick = |_| self.balancer.choose(&self.policy, &self.candidates, &context)?.address.port();
        let mut ports: Vec<_> = (0..12).filter_map(pick).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

#[test]
fn only_hosts_of_the_subset_are_picked() {
    let config = LbSubsetConfig {
        subset_selectors: vec![selector(&["version"]), selector(&["stage", "version"])],
        ..LbSubsetConfig::default()
    };
    let cluster = cluster(&config);
    assert_eq!(cluster.ports(&[("version", "1")]), [1, 2]);
    assert_eq!(cluster.ports(&[("version", "1"), ("stage", "dev")]), [2]);
    assert_eq!(cluster.policy.stats.lb_subsets_selected.value(), 24);
    assert_eq!(cluster.candidates.subset_keys().count(), 5);
}

#[test]
fn nobody_is_picked_where_nothing_fits() {
    let config =
        LbSubsetConfig { subset_selectors: vec![selector(&["version"])], ..LbSubsetConfig::default() };
    let cluster = cluster(&config);
    assert!(cluster.ports(&[("version", "9")]).is_empty());
    assert!(cluster.ports(&[("stage", "prod")]).is_empty(), "there is no selector for these keys");
    assert!(cluster.ports(&[]).is_empty());
}

#[test]
fn the_fallback_policy_of_the_cluster_counts() {
    let any = LbSubsetConfig {
        fallback_policy: LbSubsetFallbackPolicy::AnyEndpoint,
        subset_selectors: vec![selector(&["version"])],
        ..LbSubsetConfig::default()
    };
    let any = cluster(&any);
    assert_eq!(any.ports(&[("version", "9")]), [1, 2, 3]);
    assert_eq!(
        (any.policy.stats.lb_subsets_fallback.value(), any.policy.stats.lb_subsets_selected.value()),
        (12, 0)
    );
    let default = LbSubsetConfig {
        fallback_policy: LbSubsetFallbackPolicy::DefaultSubset,
        default_subset: [("stage".to_owned(), text("prod"))].into_iter().collect(),
        subset_selectors: vec![selector(&["version"])],
        ..LbSubsetConfig::default()
    };
    assert_eq!(cluster(&default).ports(&[("version", "9")]), [1, 3]);
}

#[test]
fn panic_mode_finds_anybody_when_even_the_fallback_has_nobody() {
    let config = LbSubsetConfig {
        fallback_policy: LbSubsetFallbackPolicy::DefaultSubset,
        default_subset: [("stage".to_owned(), text("none"))].into_iter().collect(),
        subset_selectors: vec![selector(&["version"])],
        panic_mode_any: true,
        ..LbSubsetConfig::default()
    };
    let cluster = cluster(&config);
    assert_eq!(cluster.ports(&[]), [1, 2, 3]);
    assert_eq!(cluster.policy.stats.lb_subsets_fallback_panic.value(), 12);
}

#[test]
fn a_selector_can_fall_back_to_fewer_keys() {
    let both = LbSubsetSelector {
        fallback_policy: LbSubsetSelectorFallbackPolicy::KeysSubset,
        fallback_keys_subset: vec!["version".to_owned()],
        ..selector(&["version", "stage"])
    };
    let config =
        LbSubsetConfig { subset_selectors: vec![both, selector(&["version"])], ..LbSubsetConfig::default() };
    assert_eq!(cluster(&config).ports(&[("version", "2"), ("stage", "dev")]), [3]);
}

#[test]
fn fallback_keys_must_be_fewer_keys() {
    let scope = Store::new(1).scope("cluster.up");
    let check = |keys: &[&str]| {
        let wrong = LbSubsetSelector {
            fallback_policy: LbSubsetSelectorFallbackPolicy::KeysSubset,
            fallback_keys_subset: keys.iter().map(|key| (*key).to_owned()).collect(),
            ..selector(&["a", "b"])
        };
        let config = LbSubsetConfig { subset_selectors: vec![wrong], ..LbSubsetConfig::default() };
        SubsetOptions::new(&config, &ConfigPath::root(), &scope).err().map(|error| error.to_string())
    };
    insta::assert_snapshot!(check(&["c"]).unwrap(), @"lb_subset_config.subset_selectors[0].fallback_keys_subset: fallback_keys_subset must be a subset of selector keys");
    insta::assert_snapshot!(check(&[]).unwrap(), @"lb_subset_config.subset_selectors[0].fallback_keys_subset: fallback_keys_subset cannot be empty");
    insta::assert_snapshot!(check(&["b", "a"]).unwrap(), @"lb_subset_config.subset_selectors[0].fallback_keys_subset: fallback_keys_subset cannot be equal to keys");
    assert!(check(&["b"]).is_none());
}

#[test]
fn lists_fit_each_of_their_elements_where_that_is_asked_for() {
    let config = LbSubsetConfig {
        subset_selectors: vec![selector(&["tag"])],
        list_as_any: true,
        ..LbSubsetConfig::default()
    };
    let mut cluster = cluster(&config);
    let tags = Value::List(vec![text("a"), text("b")]);
    let set = host_set(vec![labelled(1, &[("tag", tags)]), labelled(2, &[("tag", text("b"))])]);
    cluster.candidates = Candidates::new(vec![set], &cluster.policy, None);
    assert_eq!(cluster.ports(&[("tag", "a")]), [1]);
    assert_eq!(cluster.ports(&[("tag", "b")]), [1, 2]);
}

#[test]
fn subsets_come_and_go_with_their_hosts() {
    let config =
        LbSubsetConfig { subset_selectors: vec![selector(&["version"])], ..LbSubsetConfig::default() };
    let mut cluster = cluster(&config);
    assert_eq!(cluster.ports(&[("version", "2")]), [3]);
    let set = host_set(vec![labelled(1, &[("version", text("1"))])]);
    let next = Candidates::new(vec![set], &cluster.policy, Some(&cluster.candidates));
    cluster.candidates = next;
    cluster.balancer.prune(&cluster.candidates);
    assert!(cluster.ports(&[("version", "2")]).is_empty());
    assert_eq!(cluster.ports(&[("version", "1")]), [1]);
    assert_eq!(cluster.balancer.subsets.borrow().len(), 1);
}
