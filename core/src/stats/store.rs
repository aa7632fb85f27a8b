//! The store: all stats of one server.

use std::sync::Arc;

use super::histogram::{BucketSettings, HistogramState, Unit};
use super::matcher::StatsMatcher;
use super::name::StatName;
use super::numbers::{Declared, Found, Number, NumberKind, Numbers};
use super::registry::{Listed, Name, Registry};
use super::scope::Scope;
use super::snapshot::{Snapshot, Stat};
use super::tags::TagRules;
use super::text_readout::TextReadoutState;

/// All stats of one server. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(Arc<StoreState>);

/// What `stats_config` asks for.
#[derive(Debug, Default)]
pub struct StoreOptions {
    /// How tags are taken out of names.
    pub tags: TagRules,
    /// Which stats exist.
    pub matcher: StatsMatcher,
    /// Which buckets histograms are shown in.
    pub buckets: BucketSettings,
}

/// What scopes refer to.
#[derive(Debug)]
pub(super) struct StoreState {
    numbers: Numbers,
    histograms: Registry<HistogramState>,
    text_readouts: Registry<TextReadoutState>,
    tags: Arc<TagRules>,
    matcher: StatsMatcher,
    buckets: BucketSettings,
}

impl Store {
    /// An empty store for a server with this many workers ([`set_worker`](super::set_worker)).
    pub fn new(workers: usize) -> Self {
        Self::with_options(workers, StoreOptions::default())
    }

    /// An empty store for a server with this many workers and this `stats_config`.
    pub fn with_options(workers: usize, options: StoreOptions) -> Self {
        let tags = Arc::new(options.tags);
        Self(Arc::new(StoreState {
            numbers: Numbers::new(workers, Arc::clone(&tags)),
            histograms: Registry::new(),
            text_readouts: Registry::new(),
            tags,
            matcher: options.matcher,
            buckets: options.buckets,
        }))
    }

    /// The scope of that name; `""` is the root.
    pub fn scope(&self, name: &str) -> Scope {
        Scope::new(Arc::clone(&self.0), "".into()).scope(name)
    }

    /// Sets every counter to zero (`POST /reset_counters`).
    pub fn reset_counters(&self) {
        for counter in self.0.numbers.all(NumberKind::Counter) {
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
            counters: numbers(&state.numbers, NumberKind::Counter),
            gauges: numbers(&state.numbers, NumberKind::Gauge),
            histograms: list(&state.histograms, HistogramState::view),
            text_readouts: list(&state.text_readouts, |t| (t.used(), t.value())),
        }
    }
}

/// The counters or the gauges as a snapshot holds them.
fn numbers(numbers: &Numbers, kind: NumberKind) -> Vec<Stat<u64>> {
    let stat = |listed: super::numbers::Listed| {
        let (used, value) = (listed.used(), listed.value());
        Stat { name: Arc::new(StatName::listed(listed.name, listed.block, listed.index)), used, value }
    };
    numbers.all(kind).into_iter().map(stat).collect()
}

/// The other stats of one kind as a snapshot holds them; `read` gives whether it was used, and its value.
fn list<T: Listed, V>(registry: &Registry<T>, read: impl Fn(&T) -> (bool, V)) -> Vec<Stat<V>> {
    let stat = |stat: Arc<T>| {
        let (used, value) = read(&stat);
        Stat { name: Arc::clone(stat.name()), used, value }
    };
    registry.all().into_iter().map(stat).collect()
}

/// Each of these gives `None` for a stat that the matcher turns off.
impl StoreState {
    pub(super) fn number(&self, kind: NumberKind, prefix: &Arc<str>, name: &str) -> Option<Arc<Number>> {
        let accepted = self.matcher.is_accept_all() || self.accepts(&format!("{prefix}{name}"));
        accepted.then(|| self.numbers.number(kind, prefix, name))
    }

    /// `Scattered` also where some may be turned off.
    pub(super) fn declared(&self, prefix: &Arc<str>, names: Declared) -> Found {
        if self.matcher.is_accept_all() { self.numbers.declared(prefix, names) } else { Found::Scattered }
    }

    pub(super) fn histogram(&self, name: &str, unit: Unit) -> Option<Arc<HistogramState>> {
        let make =
            || HistogramState::new(self.name(name), unit, self.buckets.bounds_of(name), self.numbers.rows());
        self.accepts(name).then(|| self.histograms.get_or_insert(name, make))
    }

    pub(super) fn text_readout(&self, name: &str) -> Option<Arc<TextReadoutState>> {
        let make = || TextReadoutState::new(self.name(name));
        self.accepts(name).then(|| self.text_readouts.get_or_insert(name, make))
    }

    fn name(&self, full: &str) -> Name {
        Arc::new(StatName::new(full, &self.tags))
    }

    fn accepts(&self, name: &str) -> bool {
        self.matcher.accepts(name)
    }
}
