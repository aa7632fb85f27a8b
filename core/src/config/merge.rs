//! Laying one config over another, as protobuf merges messages: for `--config-yaml` over `--config-path`.

use std::sync::Arc;

use super::{Entry, Node, NodeValue, names};

/// The tree of `base` with `overlay` laid over it.
///
/// Scalars are replaced, messages are merged field by field, lists are appended. Every node keeps the file and the place
/// it came from; a merged message keeps those of `base`.
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
