//! Counters, gauges and histograms: what the proxy counts, under Envoy's names.
//!
//! A [`Store`] is a value that the server owns; there is no global one. Code that counts asks a [`Scope`] (a prefix
//! of the name) for handles once per listener, cluster or connection, keeps them, and pays one uncontended memory
//! access each time something happens:
//!
//! ```
//! use underpass_core::stats::Store;
//!
//! let store = Store::new(2);
//! let cluster = store.scope("cluster.up");
//! let connections = cluster.counter("upstream_cx_total");
//! connections.inc();
//! assert_eq!(cluster.counter("upstream_cx_total").value(), 1);
//! ```
//!
//! **Who writes where.** Every stat has one cell for each worker, and one that all other threads share. A worker
//! ([`set_worker`]) writes its own cells only, so that no cache line travels between workers; reading sums the cells.
//!
//! **How long a stat lives.** As long as a handle to it, or a scope through which it was created, does. Two owners
//! who ask for one name get the same stat: a new version of a listener goes on counting where the old one is, and
//! when the last of them is gone the name disappears from the listing.

mod cells;
mod counter;
mod gauge;
mod group;
mod histogram;
mod matcher;
mod name;
mod numbers;
mod registry;
pub mod render;
mod scope;
mod snapshot;
mod store;
mod tags;
mod taking;
mod text_readout;

pub use cells::set_worker;
pub use counter::Counter;
pub use gauge::{Gauge, GaugeHold};
pub use histogram::{Bin, Bins, BucketBounds, BucketSettings, Histogram, Unit};
pub use matcher::StatsMatcher;
pub use name::StatName;
#[doc(hidden)]
pub use numbers::{Declared, NumberKind};
pub use scope::Scope;
pub use snapshot::{HistogramView, Snapshot, Stat};
pub use store::{Store, StoreOptions};
pub use tags::{Tag, TagError, TagRules, TagSpecifier, TagValue, Tagged};
#[doc(hidden)]
pub use taking::Taking;
pub use text_readout::TextReadout;

#[cfg(test)]
mod tests;
