//! Laying one config over another, as protobuf merges messages: for `--config-yaml` over `--config-path`.

use std::sync::Arc;

use super::{Entry, Node, NodeValue, names};

/// The tree of `base` with `overlay` laid over it.
///
/// Scalars are replaced, messages are merged field by field, lists are appended. Every node keeps the file and the
/// place it came from; a merged message keeps those of `base`.
pub fn merge(base: &Arc<Node>, overlay: &Arc<Node>) -> Arc<Node> {
    let value = match (&base.value, &overlay.value) {
        (_, NodeValue::Null) => return Arc::clone(base),
        (NodeValue::List(first), NodeValue::List(second)) => {
            NodeValue::List(first.iter().chain(second).cloned().collect())
        }
        (NodeValue::Map(first), NodeValue::Map(second)) => {
            let mut entries = first.clone();
            for entry in second {
                merge_entry(&mut entries, entry);
            }
            NodeValue::Map(entries)
        }
        _ => return Arc::clone(overlay),
    };
    Arc::new(Node { value, ..Node::clone(base) })
}

fn merge_entry(entries: &mut Vec<Entry>, overlay: &Entry) {
    let same = |entry: &&mut Entry| {
        names::same_field(&entry.key, &overlay.key) || names::same_field(&overlay.key, &entry.key)
    };
    match entries.iter_mut().find(same) {
        Some(entry) => {
            let value = merge(&entry.value, &overlay.value);
            let kept = Arc::ptr_eq(&value.file, &entry.value.file) || value.file == entry.value.file;
            // The key's place is one in the file of the value.
            *entry = Entry { mark: if kept { entry.mark } else { overlay.mark }, value, ..entry.clone() };
        }
        None => entries.push(overlay.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_yaml;

    #[test]
    fn scalars_are_replaced_messages_merged_and_lists_appended() {
        let base = "{a: 1, keep: x, m: {x: 1, y: {z: 1}}, l: [1, 2], statPrefix: p, kind: {}}";
        let over = "{a: 2, m: {y: {z: 2, w: 3}}, l: [3], stat_prefix: q, new: n, keep: null, kind: text}";
        let merged = merge(&parse_yaml("base", base).unwrap().root, &parse_yaml("over", over).unwrap().root);
        insta::assert_snapshot!(merged.to_json(), @r#"{"a":2,"keep":"x","kind":"text","l":[1,2,3],"m":{"x":1,"y":{"w":3,"z":2}},"new":"n","statPrefix":"q"}"#);
        let place = |key: &str| {
            let entry = merged.entry(key).unwrap();
            format!("{} {}", entry.location(), entry.value.location())
        };
        assert_eq!(place("a"), "over:1:2 over:1:5");
        assert_eq!(place("keep"), "base:1:8 base:1:14");
        assert_eq!(place("m"), "base:1:17 base:1:20");
        assert_eq!(merged.get("l").unwrap().elements()[2].location().to_string(), "over:1:34");
    }
}
