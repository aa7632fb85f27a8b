//! A worker: one thread with its own runtime, and what belongs to it alone.

use std::{
    any::{Any, TypeId},
    cell::{OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::FxHashMap;

use crate::{
    cluster::{ClusterManager, HostId},
    server::ServerContext,
    timers::Timers,
    turns::Turns,
};

/// One worker, as everything that runs on it sees it.
pub struct Worker {
    index: usize,
    server: Arc<ServerContext>,
    slots: Slots,
    hosts: RefCell<FxHashMap<HostId, Rc<Slots>>>,
    cluster_manager: OnceCell<Rc<dyn ClusterManager>>,
    timers: OnceCell<Timers>,
    turns: Turns,
}

impl Worker {
    /// A worker without clusters; the engine adds them with [`Worker::set_cluster_manager`].
    pub fn new(index: usize, server: Arc<ServerContext>) -> Self {
        Self {
            index,
            server,
            slots: Slots::default(),
            hosts: RefCell::default(),
            cluster_manager: OnceCell::new(),
            timers: OnceCell::new(),
            turns: Turns::default(),
        }
    }

    /// Its number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The process it belongs to.
    pub fn server(&self) -> &Arc<ServerContext> {
        &self.server
    }

    /// Things that extensions keep per worker.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Things that extensions keep per worker and host, such as connection pools.
    pub fn host_slots(&self, host: HostId) -> Rc<Slots> {
        self.hosts.borrow_mut().entry(host).or_default().clone()
    }

    /// Lets go of what was kept for a host that is gone; pools drain when their last stream ends.
    pub fn forget_host(&self, host: HostId) -> Option<Rc<Slots>> {
        self.hosts.borrow_mut().remove(&host)
    }

    /// The clusters, if the engine has set them (it does so before any connection is served).
    pub fn cluster_manager(&self) -> Option<&Rc<dyn ClusterManager>> {
        self.cluster_manager.get()
    }

    /// Where timeouts wait. Without the engine these are timers of the runtime.
    pub fn timers(&self) -> &Timers {
        self.timers.get_or_init(Timers::default)
    }

    /// The turns of its event loop.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// For the engine: sets the timers; it comes before whoever asks for them.
    pub fn set_timers(&self, timers: Timers) {
        let _ = self.timers.set(timers);
    }

    /// For the engine: sets the clusters; the first call counts.
    pub fn set_cluster_manager(&self, manager: Rc<dyn ClusterManager>) {
        let _ = self.cluster_manager.set(manager);
    }
}

/// Typed places: at most one value of each type.
#[derive(Default)]
pub struct Slots(RefCell<FxHashMap<TypeId, Rc<dyn Any>>>);

impl Slots {
    /// The value of that type.
    pub fn get<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.borrow().get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok())
    }

    /// The value of that type, made if there is none.
    pub fn get_or_insert_with<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        if let Some(present) = self.get() {
            return present;
        }
        let value = Rc::new(make());
        self.insert(Rc::clone(&value));
        value
    }

    /// Puts a value there; one of the same type is replaced.
    pub fn insert<T: 'static>(&self, value: Rc<T>) {
        self.0.borrow_mut().insert(TypeId::of::<T>(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_one_value_of_each_type() {
        let slots = Slots::default();
        assert_eq!(*slots.get_or_insert_with(|| 1_u8), 1);
        assert_eq!(*slots.get_or_insert_with(|| 2_u8), 1);
        slots.insert(Rc::new(3_u8));
        assert_eq!(slots.get::<u8>().as_deref(), Some(&3));
        assert!(slots.get::<u16>().is_none());
    }
}
