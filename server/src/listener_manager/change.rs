//! What an update of a listener changes.

use std::collections::BTreeMap;

use underpass_core::config::{Node, known};

/// The fields that can change while a listener keeps its sockets and connections.
const FILTER_CHAIN_FIELDS: [&str; 3] = ["filter_chains", "default_filter_chain", "filter_chain_matcher"];

/// Whether two messages of a listener differ in nothing but their filter chains.
pub(super) fn only_filter_chains_differ(old: &Node, new: &Node) -> bool {
    other_fields(old) == other_fields(new)
}

/// Hashes of the other fields, by name; fields may be written in either style.
fn other_fields(listener: &Node) -> BTreeMap<String, u64> {
    let is_chain =
        |key: &str| FILTER_CHAIN_FIELDS.iter().any(|field| key == *field || key == known::json_name(field));
    let others = listener.entries().iter().filter(|entry| !is_chain(&entry.key) && !entry.value.is_null());
    others.map(|entry| (known::json_name(&entry.key), entry.value.stable_hash())).collect()
}

#[cfg(test)]
mod tests {
    use underpass_core::config::parse_yaml;

    use super::*;

    fn only_chains(old: &str, new: &str) -> bool {
        let tree = |text| parse_yaml("l.yaml", text).unwrap().root;
        only_filter_chains_differ(&tree(old), &tree(new))
    }

    #[test]
    fn chains_may_differ_and_nothing_else() {
        let old = "{name: a, stat_prefix: p, filter_chains: [{name: x}]}";
        assert!(only_chains(
            old,
            "{stat_prefix: p, name: a, filter_chains: [{name: y}], default_filter_chain: {}}"
        ));
        assert!(!only_chains(old, "{name: a, stat_prefix: q, filter_chains: [{name: x}]}"));
        assert!(!only_chains(old, "{name: a, filter_chains: [{name: x}]}"));
    }

    #[test]
    fn the_style_of_field_names_does_not_count() {
        assert!(only_chains("{stat_prefix: p, filter_chains: []}", "{statPrefix: p, filterChains: [{}]}"));
        assert!(only_chains("{name: a, stat_prefix: ~}", "{name: a}"));
    }
}
