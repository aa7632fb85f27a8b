//! What the file cannot change while the process runs.
//!
//! Everything but listeners, clusters and runtime layers was built into the process at its start. A file that differs there is
//! refused as a whole when it is read again: what would be left of it is not what its author has checked.

use std::collections::BTreeMap;

use underpass_core::config::{ConfigPath, Document, Node, Report, known};

/// The fields of the bootstrap that are taken over when the file is read again.
const CHANGEABLE: [&str; 2] = ["staticResources", "layeredRuntime"];

/// Says which fields differ that cannot change.
pub(super) fn check(present: &Document, next: &Document, report: &mut Report) {
    let (present, fields) = (fields(&present.root), fields(&next.root));
    let both = present.keys().chain(fields.keys());
    let mut names: Vec<_> = both.filter(|name| !CHANGEABLE.contains(&name.as_str())).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (before, after) = (present.get(name), fields.get(name));
        if before.map(|(_, hash)| hash) == after.map(|(_, hash)| hash) {
            continue;
        }
        let Some((written, _)) = after.or(before) else { continue };
        let path = ConfigPath::root().field(written);
        let location = next.locate(&path);
        let what = match (before, after) {
            (None, _) => "was not there at the start",
            (_, None) => "was there at the start and is gone",
            _ => "differs from what the process was started with",
        };
        report.error(path, Some(location), format!("{what}; it cannot change without a restart"));
    }
}

/// The fields that are set, by name in one style: how they are written, and a hash of what they say.
fn fields(root: &Node) -> BTreeMap<String, (String, u64)> {
    let set = root.entries().iter().filter(|entry| !entry.value.is_null());
    set.map(|it| (known::json_name(&it.key), (it.key.to_string(), it.value.stable_hash()))).collect()
}

#[cfg(test)]
mod tests {
    use underpass_core::config::parse_yaml;

    use super::*;

    fn said(present: &str, next: &str) -> String {
        let tree = |text| parse_yaml("x.yaml", text).unwrap();
        let mut report = Report::new();
        check(&tree(present), &tree(next), &mut report);
        report.to_string()
    }

    #[test]
    fn listeners_clusters_and_runtime_layers_may_change() {
        let present =
            "{static_resources: {listeners: [{name: a}]}, layered_runtime: {layers: []}, node: {id: x}}";
        let next = "{staticResources: {}, node: {id: x}, admin: null}";
        assert_eq!(said(present, next), "");
    }

    #[test]
    fn everything_else_is_named_with_its_line() {
        let next = "admin: {address: {}}\nnode:\n  id: y\n";
        insta::assert_snapshot!(said("{node: {id: x}, stats_config: {}}", next), @"
        x.yaml:1:8: error: admin: was not there at the start; it cannot change without a restart
        x.yaml:3:3: error: node: differs from what the process was started with; it cannot change without a restart
        x.yaml:1:1: error: stats_config: was there at the start and is gone; it cannot change without a restart
        ");
    }
}
