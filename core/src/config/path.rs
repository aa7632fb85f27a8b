//! The way from the root of a config to one of its nodes, as it is printed in messages.

use std::{fmt, sync::Arc};

/// The path of a node, such as `static_resources.listeners[0].name`.
///
/// A path is a chain of shared links, so cloning and extending one are cheap and nothing is printed before somebody
/// asks.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ConfigPath(Option<Arc<Link>>);

#[derive(PartialEq, Eq, Hash)]
struct Link {
    parent: ConfigPath,
    segment: Segment,
}

/// One step of a [`ConfigPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A field of a message.
    Field(Arc<str>),
    /// An element of a list, from 0.
    Index(usize),
    /// A key of a map whose keys are data, such as the names in `filter_metadata`.
    Key(Arc<str>),
}

impl ConfigPath {
    /// The path of the root; prints as nothing.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of a field of this message.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.join(Segment::Field(name.into()))
    }

    /// The path of an element of this list, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.join(Segment::Index(index))
    }

    /// The path of a value of this map, whose keys are data.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Segment::Key(key.into()))
    }

    /// The path to which a text such as `weighted_clusters.clusters[0].name` leads from here; an empty text leads nowhere else.
    #[must_use]
    pub fn below(&self, text: &str) -> Self {
        text.split('.').filter(|part| !part.is_empty()).fold(self.clone(), |path, part| {
            let Some((name, index)) = part.strip_suffix(']').and_then(|part| part.split_once('[')) else {
                return path.field(part);
            };
            let path = path.field(name);
            index.parse().map_or_else(|_| path.key(index), |index| path.index(index))
        })
    }

    /// The path one step further.
    #[must_use]
    pub fn join(&self, segment: Segment) -> Self {
        Self(Some(Arc::new(Link { parent: self.clone(), segment })))
    }

    /// The path of what this is in; that of the root is the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        self.0.as_ref().map(|link| link.parent.clone()).unwrap_or_default()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }

    /// The steps from the root to the node.
    pub fn segments(&self) -> Vec<&Segment> {
        let mut segments = Vec::new();
        let mut at = self;
        while let Some(link) = &at.0 {
            segments.push(&link.segment);
            at = &link.parent;
        }
        segments.reverse();
        segments
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.segments().into_iter().enumerate() {
            match segment {
                Segment::Field(name) if depth == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigPath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_one_would_write_it() {
        let listener = ConfigPath::root().field("static_resources").field("listeners").index(0);
        assert_eq!(listener.field("name").to_string(), "static_resources.listeners[0].name");
        assert_eq!(
            listener.field("filter_metadata").key("a.b").to_string(),
            r#"static_resources.listeners[0].filter_metadata["a.b"]"#
        );
        assert_eq!(listener.below("filters[1].name").to_string(), format!("{listener}.filters[1].name"));
        assert_eq!(listener.below(""), listener);
        assert_eq!(ConfigPath::root().index(1).field("x").to_string(), "[1].x");
        assert_eq!(ConfigPath::root().to_string(), "");
        assert_eq!(listener, ConfigPath::root().field("static_resources").field("listeners").index(0));
    }
}
