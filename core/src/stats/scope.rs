//! Scopes: prefixes under which stats are created and kept.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::counter::Counter;
use super::gauge::Gauge;
use super::histogram::{Histogram, Unit};
use super::numbers::{Declared, Found, Number, NumberKind};
use super::store::StoreState;
use super::taking::Taking;
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
    prefix: Arc<str>,
    /// What it keeps alive, by address, so that nothing is there twice.
    kept: Mutex<FxHashMap<usize, Arc<dyn Any + Send + Sync>>>,
}

impl Scope {
    pub(super) fn new(store: Arc<StoreState>, prefix: Arc<str>) -> Self {
        Self(Arc::new(ScopeState { store, prefix, kept: Mutex::default() }))
    }

    /// The scope `name` below this one.
    #[must_use = "a scope keeps the stats that are made through it"]
    pub fn scope(&self, name: &str) -> Self {
        let name = sanitize(name);
        let prefix = if name.is_empty() {
            Arc::clone(&self.0.prefix)
        } else {
            format!("{}{name}.", self.0.prefix).into()
        };
        Self::new(Arc::clone(&self.0.store), prefix)
    }

    /// The counter `name` of this scope.
    pub fn counter(&self, name: &str) -> Counter {
        Counter::new(self.number(NumberKind::Counter, name))
    }

    /// The gauge `name` of this scope.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge::new(self.number(NumberKind::Gauge, name))
    }

    fn number(&self, kind: NumberKind, name: &str) -> Option<Arc<Number>> {
        let number = self.0.store.number(kind, &self.0.prefix, name)?;
        self.keep(number.block());
        Some(number)
    }

    /// The counters and gauges of a declaration ([`stat_group!`](crate::stat_group)), which are made together.
    #[doc(hidden)]
    pub fn declared(&self, names: Declared) -> Taking {
        let block = match self.0.store.declared(&self.0.prefix, names) {
            Found::Block(block) => {
                self.keep(&block);
                Some(block)
            }
            Found::Scattered => None,
        };
        Taking::new(block, self.clone(), names)
    }

    /// The histogram `name` of this scope. The unit is that of the first who asked.
    pub fn histogram(&self, name: &str, unit: Unit) -> Histogram {
        let histogram = self.0.store.histogram(&self.full_name(name), unit);
        histogram.iter().for_each(|histogram| self.keep(histogram));
        Histogram::new(histogram)
    }

    /// The text readout `name` of this scope.
    pub fn text_readout(&self, name: &str) -> TextReadout {
        let readout = self.0.store.text_readout(&self.full_name(name));
        readout.iter().for_each(|readout| self.keep(readout));
        TextReadout::new(readout)
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.0.prefix)
    }

    fn keep<T: Send + Sync + 'static>(&self, stat: &Arc<T>) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(Arc::as_ptr(stat).addr()).or_insert_with(|| Arc::clone(stat) as _);
    }
}

/// A name that may hold an address, as Envoy writes it into stats: `127.0.0.1:80` becomes `127.0.0.1_80`
/// (Envoy, `source/common/stats/utility.cc`).
fn sanitize(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = name.strip_prefix('.').unwrap_or(name);
    name.replace("://", "_").replace(":/", "_").replace([':', '\0'], "_")
}
