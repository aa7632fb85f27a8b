//! Scopes: prefixes under which stats are created and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::counter::Counter;
use super::gauge::Gauge;
use super::histogram::{Histogram, Unit};
use super::registry::Listed;
use super::store::StoreState;
use super::text_readout::TextReadout;

/// A prefix of stat names, such as `cluster.up`.
///
/// Cheap to clone and usable from any thread. A stat that was created through a scope lives at least as long as the
/// scope. Two scopes of one name give the same stats.
#[derive(Debug, Clone)]
pub struct Scope(Arc<ScopeState>);

#[derive(Debug)]
struct ScopeState {
    store: Arc<StoreState>,
    /// Empty, or with a dot at its end.
    prefix: String,
    kept: Mutex<Kept>,
}

/// The stats that a scope keeps alive.
type Kept = HashMap<(Kind, Arc<str>), Arc<dyn Listed>>;

/// Counters and gauges may share a name, so the kind belongs to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    TextReadout,
}

impl Scope {
    pub(super) fn new(store: Arc<StoreState>, prefix: String) -> Self {
        Self(Arc::new(ScopeState { store, prefix, kept: Mutex::default() }))
    }

    /// The scope `name` below this one.
    #[must_use = "a scope keeps the stats that are made through it"]
    pub fn scope(&self, name: &str) -> Self {
        let name = sanitize(name);
        let prefix =
            if name.is_empty() { self.0.prefix.clone() } else { format!("{}{name}.", self.0.prefix) };
        Self::new(Arc::clone(&self.0.store), prefix)
    }

    /// The counter `name` of this scope.
    pub fn counter(&self, name: &str) -> Counter {
        Counter::new(self.keep(Kind::Counter, self.0.store.counter(&self.full_name(name))))
    }

    /// The gauge `name` of this scope.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge::new(self.keep(Kind::Gauge, self.0.store.gauge(&self.full_name(name))))
    }

    /// The histogram `name` of this scope. The unit is that of the first who asked.
    pub fn histogram(&self, name: &str, unit: Unit) -> Histogram {
        Histogram::new(self.keep(Kind::Histogram, self.0.store.histogram(&self.full_name(name), unit)))
    }

    /// The text readout `name` of this scope.
    pub fn text_readout(&self, name: &str) -> TextReadout {
        TextReadout::new(self.keep(Kind::TextReadout, self.0.store.text_readout(&self.full_name(name))))
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.0.prefix)
    }

    fn keep<T: Listed>(&self, kind: Kind, stat: Option<Arc<T>>) -> Option<Arc<T>> {
        if let Some(stat) = &stat {
            let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert((kind, stat.name().shared()), Arc::clone(stat) as Arc<dyn Listed>);
        }
        stat
    }
}

/// A name that may hold an address, as Envoy writes it into stats: `127.0.0.1:80` becomes `127.0.0.1_80`
/// (Envoy, `source/common/stats/utility.cc`).
fn sanitize(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = name.strip_prefix('.').unwrap_or(name);
    name.replace("://", "_").replace(":/", "_").replace([':', '\0'], "_")
}
