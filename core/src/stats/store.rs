//! The store: all stats of one server.

use std::sync::Arc;

use super::cells::CellPool;
use super::counter::CounterState;
use super::gauge::GaugeState;
use super::histogram::{HistogramState, Unit};
use super::registry::Registry;
use super::scope::Scope;
use super::snapshot::{Snapshot, Stat};
use super::text_readout::TextReadoutState;

/// All stats of one server. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(Arc<StoreState>);

/// What scopes refer to.
#[derive(Debug)]
pub(super) struct StoreState {
    cells: CellPool,
    counters: Registry<CounterState>,
    gauges: Registry<GaugeState>,
    histograms: Registry<HistogramState>,
    text_readouts: Registry<TextReadoutState>,
}

impl Store {
    /// An empty store for a server with this many workers ([`set_worker`](super::set_worker)).
    pub fn new(workers: usize) -> Self {
        Self(Arc::new(StoreState {
            cells: CellPool::new(workers),
            counters: Registry::new(),
            gauges: Registry::new(),
            histograms: Registry::new(),
            text_readouts: Registry::new(),
        }))
    }

    /// The scope of that name; `""` is the root.
    pub fn scope(&self, name: &str) -> Scope {
        Scope::new(Arc::clone(&self.0), String::new()).scope(name)
    }

    /// Sets every counter to zero (`POST /reset_counters`).
    pub fn reset_counters(&self) {
        for counter in self.0.counters.all() {
            counter.reset();
        }
    }

    /// Moves what workers recorded in histograms since the last call into the interval and cumulative views. The
    /// server calls it every `stats_flush_interval`.
    pub fn merge_histograms(&self) {
        for histogram in self.0.histograms.all() {
            histogram.merge();
        }
    }

    /// Everything as it is now, sorted by name.
    pub fn snapshot(&self) -> Snapshot {
        let state = &self.0;
        Snapshot {
            counters: list(&state.counters, |c| (c.used(), c.value())),
            gauges: list(&state.gauges, |g| (g.used(), g.value())),
            histograms: list(&state.histograms, HistogramState::view),
            text_readouts: list(&state.text_readouts, |t| (t.used(), t.value())),
        }
    }
}

/// The stats of one kind as a snapshot holds them; `read` gives whether it was used, and its value.
fn list<T: super::registry::Listed, V>(
    registry: &Registry<T>,
    read: impl Fn(&T) -> (bool, V),
) -> Vec<Stat<V>> {
    let stat = |stat: Arc<T>| {
        let (used, value) = read(&stat);
        Stat { name: Arc::clone(stat.name()), used, value }
    };
    registry.all().into_iter().map(stat).collect()
}

impl StoreState {
    pub(super) fn counter(&self, name: &str) -> Option<Arc<CounterState>> {
        Some(self.counters.get_or_insert(name, |name| CounterState::new(name, self.cells.take())))
    }

    pub(super) fn gauge(&self, name: &str) -> Option<Arc<GaugeState>> {
        Some(self.gauges.get_or_insert(name, |name| GaugeState::new(name, self.cells.take())))
    }

    pub(super) fn histogram(&self, name: &str, unit: Unit) -> Option<Arc<HistogramState>> {
        let make = |name| HistogramState::new(name, unit, self.cells.rows());
        Some(self.histograms.get_or_insert(name, make))
    }

    pub(super) fn text_readout(&self, name: &str) -> Option<Arc<TextReadoutState>> {
        Some(self.text_readouts.get_or_insert(name, TextReadoutState::new))
    }
}
