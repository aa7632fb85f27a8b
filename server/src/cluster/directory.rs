//! The directory of clusters: what the main thread publishes and workers look up.
//!
//! A worker keeps what it uses and is told by name what changed, so that an update costs each worker as much as there is
//! to change for it, and looking up a cluster costs no lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use underpass_core::{
    stat_group,
    stats::{Counter, Scope},
};

use super::shared::SharedCluster;

stat_group! {
    /// The scope `cluster_manager`.
    pub(crate) struct ClusterManagerStats {
        /// Clusters in use.
        gauge active_clusters,
        /// Clusters added, those of the configuration file included.
        counter cluster_added,
        /// Clusters changed.
        counter cluster_modified,
        /// Clusters removed.
        counter cluster_removed,
        /// Changes of the hosts of clusters that workers were told about.
        counter cluster_updated,
        /// Changes of hosts that waited to be told together.
        counter cluster_updated_via_merge,
        /// Changes of hosts that waited and were told with a more urgent one.
        counter update_merge_cancelled,
        /// Changes of hosts that came late enough to be told at once.
        counter update_out_of_merge_window,
        /// Clusters that wait for their first hosts.
        gauge warming_clusters,
    }
}

/// The present version of each cluster.
pub(crate) struct Directory {
    clusters: RwLock<HashMap<Arc<str>, Arc<SharedCluster>>>,
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
    updated: Counter,
}

/// What changed about a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its hosts.
    Hosts,
    /// There is another version, or none any more.
    Version,
}

/// News for one worker.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    changes: Mutex<HashMap<Arc<str>, Change>>,
    filled: AtomicBool,
    arrived: Notify,
}

impl Directory {
    /// An empty directory.
    pub(crate) fn new(stats: &Scope) -> Self {
        let updated = ClusterManagerStats::new(&stats.scope("cluster_manager")).cluster_updated;
        Self { clusters: RwLock::default(), mailboxes: Mutex::default(), updated }
    }

    /// The present version of a cluster.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<SharedCluster>> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Makes a version the present one.
    pub(crate) fn publish(&self, cluster: &Arc<SharedCluster>) {
        let name = Arc::clone(&cluster.info.name);
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        clusters.insert(Arc::clone(&name), Arc::clone(cluster));
        drop(clusters);
        self.tell(&name, Change::Version);
    }

    /// Takes a cluster away. Connections to it live on.
    pub(crate) fn withdraw(&self, name: &Arc<str>) {
        self.clusters.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.tell(name, Change::Version);
    }

    /// Tells workers that the hosts of a cluster changed; `count` says whether they could have known the old ones.
    pub(super) fn hosts_changed(&self, name: &Arc<str>, count: bool) {
        if count {
            self.updated.inc();
        }
        self.tell(name, Change::Hosts);
    }

    /// A mailbox for a worker, as long as the worker holds it.
    pub(super) fn subscribe(&self) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mailbox));
        mailbox
    }

    fn tell(&self, name: &Arc<str>, change: Change) {
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| {
            let Some(mailbox) = mailbox.upgrade() else { return false };
            mailbox.put(Arc::clone(name), change);
            true
        });
    }
}

impl Mailbox {
    /// News that were not taken yet add up: of two changes of one cluster the greater counts.
    fn put(&self, name: Arc<str>, change: Change) {
        let mut changes = self.lock();
        let noted = changes.entry(name).or_insert(change);
        if change == Change::Version {
            *noted = change;
        }
        self.filled.store(true, Ordering::Release);
        drop(changes);
        self.arrived.notify_one();
    }

    /// Whether there is anything to take.
    pub(super) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> HashMap<Arc<str>, Change> {
        let mut changes = self.lock();
        self.filled.store(false, Ordering::Release);
        std::mem::take(&mut *changes)
    }

    /// Waits for something to arrive.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
