//! The list of the stats that are alive, by name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::name::StatName;

/// The name of a stat, shared with snapshots.
pub(super) type Name = Arc<StatName>;

/// What the list holds.
pub(super) trait Listed: Debug + Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &Name;
}

/// Below this length the list is not searched for dead entries.
const SMALL: usize = 1024;

/// The stats of one kind. It does not keep them alive.
#[derive(Debug)]
pub(super) struct Registry<T> {
    list: Mutex<List<T>>,
}

#[derive(Debug)]
struct List<T> {
    by_name: BTreeMap<Arc<str>, Weak<T>>,
    /// The length at which dead entries are swept out next, so that sweeping costs little per entry.
    sweep_at: usize,
}

impl<T: Listed> Registry<T> {
    pub(super) fn new() -> Self {
        Self { list: Mutex::new(List { by_name: BTreeMap::new(), sweep_at: SMALL }) }
    }

    /// The live stat of that full name, or else the one that `make` makes.
    pub(super) fn get_or_insert(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stat) = list.by_name.get(name).and_then(Weak::upgrade) {
            return stat;
        }
        let stat = Arc::new(make());
        list.by_name.insert(stat.name().shared(), Arc::downgrade(&stat));
        if list.by_name.len() >= list.sweep_at {
            list.by_name.retain(|_, stat| stat.strong_count() > 0);
            list.sweep_at = SMALL.max(2 * list.by_name.len());
        }
        stat
    }

    /// All live stats, in the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.by_name.values().filter_map(Weak::upgrade).collect()
    }
}
