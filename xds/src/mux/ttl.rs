//! How long resources count without another word of the control plane.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// Deadlines by name.
#[derive(Debug, Default)]
pub(super) struct Ttls {
    deadlines: HashMap<Arc<str>, Instant>,
    order: BTreeSet<(Instant, Arc<str>)>,
}

impl Ttls {
    /// Sets the time that a resource has from now on; `None` is for ever.
    pub(super) fn set(&mut self, name: &Arc<str>, ttl: Option<Duration>, now: Instant) {
        self.clear(name);
        // What lies beyond the clock's end is for ever, too.
        if let Some(deadline) = ttl.and_then(|ttl| now.checked_add(ttl)) {
            self.deadlines.insert(Arc::clone(name), deadline);
            self.order.insert((deadline, Arc::clone(name)));
        }
    }

    /// Forgets a resource.
    pub(super) fn clear(&mut self, name: &Arc<str>) {
        if let Some(deadline) = self.deadlines.remove(name) {
            self.order.remove(&(deadline, Arc::clone(name)));
        }
    }

    /// The first deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the names whose time is up.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut expired = Vec::new();
        while let Some((deadline, name)) = self.order.pop_first() {
            if deadline > now {
                self.order.insert((deadline, name));
                break;
            }
            self.deadlines.remove(&name);
            expired.push(name);
        }
        expired
    }
}
