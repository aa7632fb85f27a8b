//! Who is interested in which resources of a type.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Names a watch of a [`Mux`](super::Mux).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(super) u64);

/// What a watch wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// Everything there is: clusters and listeners.
    All,
    /// Resources by name.
    Names(BTreeSet<Arc<str>>),
}

impl Interest {
    /// One resource.
    pub fn name(name: &str) -> Self {
        Self::Names(BTreeSet::from([name.into()]))
    }

    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        match self {
            Self::All => None,
            Self::Names(names) => Some(names.iter()),
        }
        .into_iter()
        .flatten()
    }
}

/// The watches of a type.
#[derive(Debug, Default)]
pub(super) struct Watches {
    interests: HashMap<WatchId, Interest>,
    all: BTreeSet<WatchId>,
    named: BTreeMap<Arc<str>, Vec<WatchId>>,
}

/// What became of the union of all interests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Names that nobody had asked for.
    pub(super) added: Vec<Arc<str>>,
    /// Names that nobody asks for any more.
    pub(super) removed: Vec<Arc<str>>,
    /// Whether everything is asked for now and was not before, or the other way round.
    pub(super) wildcard: bool,
}

impl Change {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Watches {
    /// Sets or ends the interest of a watch.
    pub(super) fn set(&mut self, id: WatchId, interest: Option<Interest>) -> Change {
        let had_wildcard = self.is_wildcard();
        let mut change = Change::default();
        let old = self.interests.remove(&id);
        let wants = |interest: &Option<Interest>, name: &Arc<str>| matches!(interest, Some(Interest::Names(names)) if names.contains(name));
        for name in old.iter().flat_map(Interest::names).filter(|name| !wants(&interest, name)) {
            if let Some(watches) = self.named.get_mut(name) {
                watches.retain(|watch| *watch != id);
                if watches.is_empty() {
                    self.named.remove(name);
                    change.removed.push(Arc::clone(name));
                }
            }
        }
        for name in interest.iter().flat_map(Interest::names).filter(|name| !wants(&old, name)) {
            let watches = self.named.entry(Arc::clone(name)).or_default();
            if watches.is_empty() {
                change.added.push(Arc::clone(name));
            }
            watches.push(id);
        }
        self.all.remove(&id);
        if interest == Some(Interest::All) {
            self.all.insert(id);
        }
        if let Some(interest) = interest {
            self.interests.insert(id, interest);
        }
        change.wildcard = had_wildcard != self.is_wildcard();
        change
    }

    /// Whether somebody wants everything.
    pub(super) fn is_wildcard(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether nobody wants anything.
    pub(super) fn is_empty(&self) -> bool {
        self.interests.is_empty()
    }

    /// The names that are asked for, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.named.keys()
    }

    /// Whether a name is asked for as such.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// The names that a watch asks for.
    pub(super) fn names_of(&self, id: WatchId) -> impl Iterator<Item = &Arc<str>> {
        self.interests.get(&id).into_iter().flat_map(Interest::names)
    }

    /// Who wants everything.
    pub(super) fn of_all(&self) -> impl Iterator<Item = WatchId> {
        self.all.iter().copied()
    }

    /// Who asks for a name as such.
    pub(super) fn of_name(&self, name: &str) -> &[WatchId] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// Everybody, by age.
    pub(super) fn ids(&self) -> Vec<WatchId> {
        let mut ids: Vec<_> = self.interests.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}
