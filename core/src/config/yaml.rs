//! From text to the config tree: YAML, of which JSON is a part.
//!
//! The parser's events are taken instead of a ready-made document, since only they carry positions. What YAML allows
//! and a config must not do is refused here: duplicate keys, keys that are not scalars, a second document, aliases
//! that multiply without bound.

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::{ConfigPath, Entry, Location, Mark, Node, NodeValue, Report, Segment, scalar};

/// Protobuf's own limit for nested JSON; what nests deeper could exhaust the stack of whoever reads it.
const MAX_DEPTH: usize = 100;
/// Tags of YAML's core schema for words that are not text.
const PLAIN_TAGS: [&str; 4] = ["int", "float", "bool", "null"];
/// How many nodes all aliases of a file may stand for together; a tree of aliases to aliases ("billion laughs") is
/// small in memory and endless to read.
const MAX_ALIASED_NODES: usize = 1_000_000;

/// A parsed file.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file's name, as in every [`Node::file`] of the tree.
    pub file: Arc<str>,
    /// The tree.
    pub root: Arc<Node>,
}

impl Document {
    /// Where the node at `path` stands; if the path leads to something that is absent, the deepest node on the way.
    ///
    /// Field names match in both styles, `stat_prefix` and `statPrefix`.
    pub fn locate(&self, path: &ConfigPath) -> Location {
        self.find(path).location()
    }

    /// The node at `path`; if the path leads to something that is absent, the deepest node on the way.
    pub fn find(&self, path: &ConfigPath) -> Arc<Node> {
        let mut node = &self.root;
        for segment in path.segments() {
            let next = match segment {
                Segment::Index(index) => node.elements().get(*index),
                Segment::Key(key) => node.get(key),
                Segment::Field(name) => node
                    .entries()
                    .iter()
                    .find(|entry| super::names::same_field(&entry.key, name))
                    .map(|entry| &entry.value),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        Arc::clone(node)
    }
}

/// Reads a YAML or JSON text into a tree.
///
/// # Errors
/// Everything that is wrong with the text, with line and column: broken YAML (after which nothing more can be said),
/// duplicate keys, keys that are no scalars, more than one document, unknown tags, aliases without bound, nesting of
/// more than 100 levels.
pub fn parse_yaml(file_name: &str, text: &str) -> Result<Document, Report> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = TreeBuilder::new(file_name);
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                builder.fatal(mark(error.marker()), format!("this is no valid YAML: {}", error.info()));
            }
        }
        if builder.stopped {
            break;
        }
    }
    builder.finish()
}

/// A finished node with what the limits need to know of it.
#[derive(Clone)]
struct Built {
    node: Arc<Node>,
    size: usize,
    height: usize,
    is_merge_key: bool,
    is_ignored_key: bool,
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    mark: Mark,
    content: Content,
    size: usize,
    height: usize,
}

enum Content {
    List(Vec<Arc<Node>>),
    Map { entries: Vec<Entry>, merges: Vec<Arc<Node>>, seen: HashMap<Arc<str>, Mark>, key: Option<Key> },
}

enum Key {
    Name(Arc<str>, Mark),
    Merge(Mark),
    /// What stands under it is not wanted: a broken key, or one tagged `!ignore`.
    Skip,
}

struct TreeBuilder {
    file: Arc<str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Built>,
    root: Option<Arc<Node>>,
    aliased: usize,
    report: Report,
    stopped: bool,
}

impl TreeBuilder {
    fn new(file_name: &str) -> Self {
        Self {
            file: file_name.into(),
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            aliased: 0,
            report: Report::new(),
            stopped: false,
        }
    }

    fn finish(self) -> Result<Document, Report> {
        if self.report.has_errors() {
            return Err(self.report);
        }
        let file = self.file;
        let root = self.root.unwrap_or_else(|| {
            let mark = Mark { line: 1, column: 1 };
            Arc::new(Node { file: Arc::clone(&file), mark, value: NodeValue::Null })
        });
        Ok(Document { file, root })
    }

    fn event(&mut self, event: Event<'_>, span: Span) {
        let mark = mark(&span.start);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.fatal(mark, "a second document begins here; a config is one document".to_owned());
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Scalar(text, style, anchor, tag) => {
                let built = self.scalar(&text, style, tag.as_deref(), mark);
                self.place(built, anchor, mark);
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", mark);
                self.begin(anchor, mark, Content::List(Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", mark);
                let (entries, merges) = (Vec::new(), Vec::new());
                self.begin(anchor, mark, Content::Map { entries, merges, seen: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, mark),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Built {
        let mut plain = style == ScalarStyle::Plain;
        let is_merge_key = plain && tag.is_none() && text == "<<";
        let mut is_ignored_key = false;
        match tag {
            None => {}
            // The "non-specific" tag `!` says "do not guess": text, as in Envoy.
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => plain = false,
            Some(tag) if is_core(tag, "str") => plain = false,
            Some(tag) if PLAIN_TAGS.iter().any(|name| is_core(tag, name)) => plain = true,
            // Envoy's own: a key that only holds anchors for other places.
            Some(tag) if tag.handle == "!" && tag.suffix == "ignore" => is_ignored_key = true,
            Some(tag) => self.unknown_tag(tag, mark),
        }
        let value = if plain && scalar::is_null(text) {
            NodeValue::Null
        } else {
            NodeValue::Scalar { text: text.into(), plain }
        };
        Built { node: self.node(mark, value), size: 1, height: 1, is_merge_key, is_ignored_key }
    }

    fn begin(&mut self, anchor: usize, mark: Mark, content: Content) {
        if self.open.len() >= MAX_DEPTH {
            self.fatal(mark, format!("more than {MAX_DEPTH} levels are nested here"));
        }
        self.open.push(Open { anchor, mark, content, size: 1, height: 0 });
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let value = match open.content {
            Content::List(elements) => NodeValue::List(elements),
            Content::Map { mut entries, merges, mut seen, .. } => {
                for entry in merges.iter().flat_map(|map| map.entries()) {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(Arc::clone(&entry.key), entry.mark);
                        entries.push(entry.clone());
                    }
                }
                NodeValue::Map(entries)
            }
        };
        let built = Built {
            node: self.node(open.mark, value),
            size: open.size,
            height: open.height + 1,
            is_merge_key: false,
            is_ignored_key: false,
        };
        self.place(built, open.anchor, open.mark);
    }

    fn alias(&mut self, anchor: usize, mark: Mark) {
        let Some(built) = self.anchors.get(&anchor).cloned() else {
            self.error(mark, "this alias stands inside the node that it refers to".to_owned());
            let node = self.node(mark, NodeValue::Null);
            let built = Built { node, size: 1, height: 1, is_merge_key: false, is_ignored_key: false };
            return self.place(built, 0, mark);
        };
        self.aliased = self.aliased.saturating_add(built.size);
        if self.aliased > MAX_ALIASED_NODES {
            self.fatal(mark, format!("the aliases up to here stand for more than {MAX_ALIASED_NODES} nodes"));
        } else if self.open.len() + built.height > MAX_DEPTH {
            self.fatal(mark, format!("more than {MAX_DEPTH} levels are nested here"));
        } else {
            self.place(built, 0, mark);
        }
    }

    /// Puts a finished node where the parser stands: the root, the next element, a key or its value.
    fn place(&mut self, built: Built, anchor: usize, mark: Mark) {
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(built.node);
            return;
        };
        open.size = open.size.saturating_add(built.size);
        open.height = open.height.max(built.height);
        let (entries, merges, seen, key) = match &mut open.content {
            Content::List(elements) => return elements.push(built.node),
            Content::Map { entries, merges, seen, key } => (entries, merges, seen, key),
        };
        match key.take() {
            Some(Key::Name(name, mark)) => entries.push(Entry { key: name, mark, value: built.node }),
            Some(Key::Skip) => {}
            Some(Key::Merge(mark)) => match &built.node.value {
                NodeValue::Map(_) => merges.push(built.node),
                NodeValue::List(maps) if maps.iter().all(|map| matches!(map.value, NodeValue::Map(_))) => {
                    merges.extend(maps.iter().cloned());
                }
                _ => {
                    let found = built.node.describe();
                    self.error(mark, format!("`<<` merges a map or a list of maps, not {found}"));
                }
            },
            None if built.is_merge_key => *key = Some(Key::Merge(mark)),
            None if built.is_ignored_key => *key = Some(Key::Skip),
            None => {
                let NodeValue::Scalar { text, .. } = &built.node.value else {
                    *key = Some(Key::Skip);
                    let found = built.node.describe();
                    return self.error(mark, format!("a key is a name, not {found}"));
                };
                let name: Arc<str> = Arc::from(&**text);
                if let Some(first) = seen.insert(Arc::clone(&name), mark) {
                    seen.insert(Arc::clone(&name), first);
                    *key = Some(Key::Skip);
                    let first = first.line;
                    self.error(mark, format!("duplicate key {name:?}: it stands already in line {first}"));
                } else {
                    *key = Some(Key::Name(name, mark));
                }
            }
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, core: &str, mark: Mark) {
        if let Some(tag) = tag
            && !is_core(tag, core)
        {
            self.unknown_tag(tag, mark);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, mark: Mark) {
        let written = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
        self.error(mark, format!("the YAML tag `{written}` has no meaning in a config"));
    }

    fn node(&self, mark: Mark, value: NodeValue) -> Arc<Node> {
        Arc::new(Node { file: Arc::clone(&self.file), mark, value })
    }

    fn error(&mut self, mark: Mark, message: String) {
        let location = Location { file: Arc::clone(&self.file), mark };
        self.report.error(ConfigPath::root(), Some(location), message);
    }

    /// An error after which nothing more can be said.
    fn fatal(&mut self, mark: Mark, message: String) {
        self.error(mark, message);
        self.stopped = true;
    }
}

fn is_core(tag: &Tag, name: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == name
}

fn mark(marker: &Marker) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}

#[cfg(test)]
mod tests;
