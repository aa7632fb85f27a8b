//! The config tree: what a file says, before anybody asks what it means.
//!
//! Every node knows the file, the line and the column it came from, so that whatever is found out about it later can
//! be said with its place. Nodes are shared (`Arc`): the accepted tree is kept for `/config_dump`, for the hash that
//! tells whether something changed, and for typed configs that are read later.

use std::{fmt, hash::Hasher, sync::Arc};

use xxhash_rust::xxh64::Xxh64;

use super::{names, scalar};

/// A place in a file: line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

/// A [`Mark`] with the name of its file; prints as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file's name as it was given on the command line.
    pub file: Arc<str>,
    /// The place in it.
    pub mark: Mark,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.mark.line, self.mark.column)
    }
}

/// One node of the config tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The file it came from: two of them meet when `--config-yaml` is merged over `--config-path`.
    pub file: Arc<str>,
    /// Where it starts.
    pub mark: Mark,
    /// What it holds.
    pub value: NodeValue,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    /// Nothing: `null`, `~`, or no value at all. As in proto3 JSON it means that the field is absent.
    Null,
    /// A word, a number or a text. Which of them is decided by who reads it.
    Scalar {
        /// The text, unescaped.
        text: Box<str>,
        /// Written without quotes, so that it may also be a number or a boolean.
        plain: bool,
    },
    /// A list.
    List(Vec<Arc<Node>>),
    /// A map, in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One `key: value` of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as it is written.
    pub key: Arc<str>,
    /// Where the key stands (in the file of the value).
    pub mark: Mark,
    /// The value.
    pub value: Arc<Node>,
}

impl Node {
    /// A map without entries that comes from no file.
    pub(crate) fn empty_map() -> Self {
        Self { file: "".into(), mark: Mark { line: 1, column: 1 }, value: NodeValue::Map(Vec::new()) }
    }

    /// The node's place with the name of its file.
    pub fn location(&self) -> Location {
        Location { file: Arc::clone(&self.file), mark: self.mark }
    }

    /// The entry of a map whose key is exactly `key`.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// The value under exactly `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Arc<Node>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value of the field that is called `name` in snake case; a file may write it in either style.
    pub fn field(&self, name: &str) -> Option<&Arc<Node>> {
        let named = |entry: &&Entry| names::same_field(&entry.key, name);
        self.entries().iter().find(named).map(|entry| &entry.value)
    }

    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The entries of a map; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The elements of a list; empty for anything else.
    pub fn elements(&self) -> &[Arc<Node>] {
        match &self.value {
            NodeValue::List(elements) => elements,
            _ => &[],
        }
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        matches!(self.value, NodeValue::Null)
    }

    /// The tree as JSON, keys as they are written; for `/config_dump` and the like.
    ///
    /// Plain scalars that YAML and JSON agree on (`true`, `12`, `1.5`) become booleans and numbers, all else is text.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::Null => serde_json::Value::Null,
            NodeValue::Scalar { text, plain } => scalar::to_json(text, *plain),
            NodeValue::List(elements) => elements.iter().map(|element| element.to_json()).collect(),
            NodeValue::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|entry| (entry.key.to_string(), entry.value.to_json())).collect(),
            ),
        }
    }

    /// A hash of what the tree says, the same on every run and machine.
    ///
    /// Places, files and the order of the keys do not count; the order of list elements does.
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = Xxh64::new(0);
        match &self.value {
            NodeValue::Null => hasher.write_u8(0),
            NodeValue::Scalar { text, plain } => {
                hasher.write_u8(if *plain { 1 } else { 2 });
                hasher.write(text.as_bytes());
            }
            NodeValue::List(elements) => {
                hasher.write_u8(3);
                for element in elements {
                    hasher.write(&element.stable_hash().to_le_bytes());
                }
            }
            NodeValue::Map(entries) => {
                hasher.write_u8(4);
                let mut hashes: Vec<u64> = entries.iter().map(Entry::stable_hash).collect();
                hashes.sort_unstable();
                for hash in hashes {
                    hasher.write(&hash.to_le_bytes());
                }
            }
        }
        hasher.finish()
    }

    /// The [`stable_hash`](Self::stable_hash) of this message as if some of its fields were not set, to find out whether
    /// anything else changed. Names are given in snake case; the file may use either style.
    pub fn stable_hash_without(&self, fields: &[&str]) -> u64 {
        let named = |entry: &&Entry| !fields.iter().any(|field| names::same_field(&entry.key, field));
        let entries = self.entries().iter().filter(named).cloned().collect();
        let rest = Self { file: Arc::clone(&self.file), mark: self.mark, value: NodeValue::Map(entries) };
        rest.stable_hash()
    }

    /// What kind of node this is, for messages: "a list", "the text \"x\"".
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            NodeValue::Null => "nothing".to_owned(),
            NodeValue::Scalar { text, plain: true } => format!("`{text}`"),
            NodeValue::Scalar { text, plain: false } => format!("the text {text:?}"),
            NodeValue::List(_) => "a list".to_owned(),
            NodeValue::Map(_) => "a map".to_owned(),
        }
    }
}

impl Entry {
    fn stable_hash(&self) -> u64 {
        let mut hasher = Xxh64::new(1);
        hasher.write(self.key.as_bytes());
        hasher.write(&self.value.stable_hash().to_le_bytes());
        hasher.finish()
    }

    /// The place of the key.
    pub fn location(&self) -> Location {
        Location { file: Arc::clone(&self.value.file), mark: self.mark }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse_yaml;

    fn hash(text: &str) -> u64 {
        parse_yaml("f", text).unwrap().root.stable_hash()
    }

    #[test]
    fn the_hash_tells_whether_the_meaning_changed() {
        let one = hash("{a: 1, b: [x, {c: d}]}");
        assert_eq!(one, hash("# moved\nb:\n- x\n- c: d\na: 1\n"));
        assert_eq!(one, 0xd3b4_90de_3df3_7626, "hashes are compared across runs and releases");
        for other in [
            "{a: 2, b: [x, {c: d}]}",
            "{a: 1, b: [{c: d}, x]}",
            "{a: '1', b: [x, {c: d}]}",
            "{a: 1}",
            "{a: 1, b: null}",
        ] {
            assert_ne!(one, hash(other), "{other}");
        }
        assert_ne!(hash("[]"), hash("{}"));
        assert_ne!(hash("[[a], b]"), hash("[a, [b]]"));
    }

    #[test]
    fn the_hash_can_leave_fields_out_in_either_style() {
        let hash = |text| parse_yaml("f", text).unwrap().root.stable_hash_without(&["load_assignment"]);
        let rest = hash("{name: a}");
        assert_eq!(hash("{name: a, load_assignment: {x: 1}}"), rest);
        assert_eq!(hash("{loadAssignment: {}, name: a}"), rest);
        assert_ne!(hash("{name: b, load_assignment: {x: 1}}"), rest);
    }

    #[test]
    fn the_tree_becomes_json_as_it_was_written() {
        let root =
            parse_yaml("f", "{someKey: 1, b: '1', c: 1.5, d: yes, e: true, f: 5s, g: 0644, h: .inf, i: }")
                .unwrap()
                .root;
        insta::assert_snapshot!(root.to_json(), @r#"{"b":"1","c":1.5,"d":"yes","e":true,"f":"5s","g":420,"h":".inf","i":null,"someKey":1}"#);
        let big =
            parse_yaml("f", "[18446744073709551615, -9223372036854775808, 1e30, +1, 0x10]").unwrap().root;
        insta::assert_snapshot!(big.to_json(), @"[18446744073709551615,-9223372036854775808,1e+30,1,16]");
    }
}
