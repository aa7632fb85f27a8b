//! What linked crates run on the main thread while the process serves, such as the client of control planes.
//!
//! The main thread has a [`Worker`] of its own for that, without listeners: connections to upstreams are opened through it as
//! on any worker.

use std::rc::Rc;

use crate::worker::Worker;

/// What a crate submits to inventory to run something on the main thread.
pub struct MainThreadService {
    /// Its name, for messages.
    pub name: &'static str,
    /// Starts it. Runs once, on the main thread, within its runtime and a `LocalSet`, before anything is subscribed to;
    /// tasks that it spawns there end with the process.
    pub start: fn(&Rc<Worker>),
}

inventory::collect!(MainThreadService);

/// Starts all services that are linked. For the engine.
pub fn start_services(worker: &Rc<Worker>) {
    for service in inventory::iter::<MainThreadService>() {
        tracing::debug!(target: "main", "starting {}", service.name);
        (service.start)(worker);
    }
}
