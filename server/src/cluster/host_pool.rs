//! What one worker has open to one host of a cluster.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

/// Counts the connections of one worker to one host, and lets streams wait until one of them ends.
#[derive(Debug, Default)]
pub(super) struct HostPool {
    connections: Cell<usize>,
    waiting: Cell<usize>,
    freed: Notify,
}

/// A place in a [`HostPool`], as long as the connection lives.
#[derive(Debug)]
pub(super) struct PoolPlace(Rc<HostPool>);

impl HostPool {
    /// Takes a place.
    pub(super) fn enter(self: &Rc<Self>) -> PoolPlace {
        self.connections.set(self.connections.get() + 1);
        PoolPlace(Rc::clone(self))
    }

    /// Whether the worker has no connection to the host.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.get() == 0
    }

    /// Waits until a connection ends. Who waits longest is woken first.
    pub(super) async fn freed(&self) {
        let _waiting = Waiting::new(&self.waiting);
        self.freed.notified().await;
    }
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        // Without this check the news would be kept for somebody who comes later, when it is not true any more.
        if self.0.waiting.get() > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    #[test]
    fn the_end_of_a_connection_wakes_who_waited_longest_and_nobody_who_comes_later() {
        let pool = Rc::new(HostPool::default());
        let places = [pool.enter(), pool.enter(), pool.enter()];
        let mut context = Context::from_waker(std::task::Waker::noop());
        let [first_place, second_place, third_place] = places;
        drop(first_place);
        let mut first = pin!(pool.freed());
        assert!(first.as_mut().poll(&mut context).is_pending(), "that was before anybody waited");
        let mut second = pin!(pool.freed());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(second_place);
        assert!(first.as_mut().poll(&mut context).is_ready());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(!pool.is_empty());
        drop(third_place);
        assert!(second.as_mut().poll(&mut context).is_ready() && pool.is_empty());
    }
}
