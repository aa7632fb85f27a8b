//! Resources that extensions took over, for `/config_dump`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::ConfigResource;
use crate::{config::Node, server::Singletons};

/// The resources in use that extensions subscribed to; the process has one.
#[derive(Debug, Default)]
pub struct AcceptedResources {
    resources: Mutex<BTreeMap<u64, AcceptedResource>>,
    last: AtomicU64,
}

/// A resource in use.
#[derive(Debug, Clone)]
pub struct AcceptedResource {
    /// Its message name.
    pub type_name: &'static str,
    /// Its version.
    pub version: Arc<str>,
    /// The message.
    pub node: Arc<Node>,
    /// Since when.
    pub since: SystemTime,
}

/// A place for one resource; dropping it takes the resource out.
#[derive(Debug)]
pub struct AcceptedPlace {
    number: u64,
    all: Weak<AcceptedResources>,
}

impl AcceptedResources {
    /// Those of a process.
    pub fn of(singletons: &Singletons) -> Arc<Self> {
        singletons.get_or_insert_with(Self::default)
    }

    /// The resources of a type, by age.
    pub fn of_type(&self, type_name: &str) -> Vec<AcceptedResource> {
        self.lock().values().filter(|resource| resource.type_name == type_name).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, AcceptedResource>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AcceptedPlace {
    /// Notes a resource that is in use from now on.
    pub fn new(all: &Arc<AcceptedResources>, type_name: &'static str, resource: &ConfigResource) -> Self {
        let number = all.last.fetch_add(1, Ordering::Relaxed);
        let (version, node) = (Arc::clone(&resource.version), Arc::clone(&resource.node));
        all.lock().insert(number, AcceptedResource { type_name, version, node, since: SystemTime::now() });
        Self { number, all: Arc::downgrade(all) }
    }
}

impl Drop for AcceptedPlace {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.lock().remove(&self.number);
        }
    }
}
