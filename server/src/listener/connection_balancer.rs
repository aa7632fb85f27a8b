//! Exact balance: a new connection goes to the worker that has the fewest of its listener.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{
    connection_limit::{ConnectionCount, Counted},
    raw_connection::RawConnection,
};

/// The workers of one listener, and how many connections each of them has.
///
/// The kernel spreads connections over sockets by a hash, which is fine for many short ones. A few long ones, as those of a
/// service mesh are, may then all meet on one worker
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto#config-listener-v3-listener-connectionbalanceconfig-exactbalance>).
#[derive(Debug, Default)]
pub(crate) struct ExactBalancer {
    seats: Mutex<Vec<Seat>>,
}

#[derive(Debug)]
struct Seat {
    worker: usize,
    connections: ConnectionCount,
    sender: UnboundedSender<RawConnection>,
}

/// A worker's place among those that connections are spread over; it is left when this is dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    balancer: Arc<ExactBalancer>,
    worker: usize,
}

/// Where a connection goes.
#[derive(Debug)]
pub(crate) struct Pick {
    /// Keeps it counted there.
    pub(crate) counted: Counted,
    /// The way there; `None` if it stays.
    pub(crate) elsewhere: Option<UnboundedSender<RawConnection>>,
}

impl ExactBalancer {
    /// Lets a worker take part. What the others hand over arrives at the receiver.
    pub(crate) fn join(self: &Arc<Self>, worker: usize) -> (Membership, UnboundedReceiver<RawConnection>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let seat = Seat { worker, connections: ConnectionCount::default(), sender };
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).push(seat);
        (Membership { balancer: Arc::clone(self), worker }, receiver)
    }

    /// Picks the worker with the fewest for a connection that was accepted by this one. Nobody is picked where nobody
    /// takes part.
    pub(crate) fn pick(&self, accepted_by: usize) -> Option<Pick> {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = seats.iter().min_by_key(|seat| seat.connections.get())?;
        // Counted before anybody else can ask, so that a burst is spread as well.
        let counted = seat.connections.hold();
        let elsewhere = (seat.worker != accepted_by).then(|| seat.sender.clone());
        Some(Pick { counted, elsewhere })
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut seats = self.balancer.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| seat.worker != self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let balancer = Arc::new(ExactBalancer::default());
        let (_first, _to_first) = balancer.join(0);
        let (_second, _to_second) = balancer.join(1);
        let stays = balancer.pick(0).unwrap();
        assert!(stays.elsewhere.is_none(), "both have none, the first one wins");
        let goes = balancer.pick(0).unwrap();
        assert!(goes.elsewhere.is_some());
        drop(stays);
        assert!(balancer.pick(1).unwrap().elsewhere.is_some(), "the first one has none again");
        drop(goes);
    }

    #[test]
    fn a_worker_that_left_gets_nothing() {
        let balancer = Arc::new(ExactBalancer::default());
        assert!(balancer.pick(0).is_none());
        let (first, _to_first) = balancer.join(0);
        let (_second, _to_second) = balancer.join(1);
        drop(first);
        assert!(balancer.pick(1).unwrap().elsewhere.is_none());
    }
}
