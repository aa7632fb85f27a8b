//! One connection, from accept to its end: a single task that passes through all that the listener has for it.

use std::{
    any::Any,
    cell::Cell,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use tokio::time::timeout;
use underpass_core::{
    connection::Connection,
    io::{self, BoxIo},
    listener_filter::{AcceptedSocket, ListenerFilterError},
    network_filter::Next,
    response_flags::ResponseFlag,
    stream_info::{DurationCell, SharedStreamInfo},
    transport_socket::DownstreamTransportSocket,
};

use super::{
    ListenerBase,
    active_listener::{ActiveListener, Place},
    connection_limit::CountedEverywhere,
    filter_chain::FilterChain,
};

/// What Envoy notes where no filter chain matched.
const FILTER_CHAIN_NOT_FOUND: &str = "filter_chain_not_found";

/// A connection that was let in, and what has to happen at its end, however it comes.
pub(super) struct Served {
    /// The bytes, until the first stage takes them.
    io: Cell<Option<BoxIo>>,
    info: SharedStreamInfo,
    /// How long after its start it got a filter chain and came into the stats.
    active_after: DurationCell,
    /// Whether the end is this listener's to log.
    log: Cell<bool>,
    /// Limits count it as long as it lives, beside its place.
    counted: CountedEverywhere,
    place: Place,
}

/// Serves a connection to its end. If it is dropped halfway (drain, shutdown), its logs are written all the same.
///
/// The future lives as long as the connection, and one more with each hop: nothing that has done its part stays in it.
#[expect(clippy::manual_async_fn, reason = "an async function would hold its argument twice")]
pub(super) fn serve(served: Served) -> impl Future<Output = ()> {
    async move {
        let stages = pass(&served);
        if let Err(panic) = catching_panics(pin!(stages)).await {
            note_panic(served.listener().base(), &*panic);
        }
    }
}

/// In one step, for it is taken whenever anything happens: futures around futures take several.
fn catching_panics(
    mut stages: Pin<&mut impl Future<Output = ()>>,
) -> impl Future<Output = Result<(), Box<dyn Any + Send>>> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| stages.as_mut().poll(cx))) {
        Ok(progress) => progress.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
}

/// Listener filters, filter chain match, transport socket, network filters.
async fn pass(served: &Served) {
    let Some(io) = served.io.take() else { return };
    let base = served.listener().base();
    let io = if base.listener_filters.is_empty() {
        // That there were some for a moment nobody sees but who asks whether the gauge was ever used.
        base.stats.downstream_pre_cx_active.touch();
        io
    } else {
        let in_listener_filters = base.stats.downstream_pre_cx_active.hold();
        let inspected = Box::pin(run_listener_filters(io, &served.info, served.listener())).await;
        drop(in_listener_filters);
        let Some(io) = inspected else { return };
        io
    };
    if let Some(other) = restored_destination(&served.info, served.listener()) {
        served.log.set(false);
        return other.adopt(io, &served.info);
    }
    let version = served.listener().version();
    let Some(chain) = version.chains.find(&served.info) else {
        return refuse(io, &served.info, served.listener().base());
    };
    served.place.set_chain(chain);
    served.becomes_active();
    *served.info.filter_chain_name.borrow_mut() = (!chain.name.is_empty()).then(|| Arc::clone(&chain.name));
    let io = match &chain.transport_socket {
        None => io,
        Some(socket) => {
            let wrapped = run_transport_socket(&**socket, io, &served.info, chain, served.listener().base());
            let Some(io) = Box::pin(wrapped).await else { return };
            io
        }
    };
    if let Err(error) = Next::new(&chain.filters).run(served.connection(io, chain)).await {
        let (name, id) = (&served.listener().base().name, served.info.connection_id);
        tracing::debug!(target: "conn_handler", "{name}: connection {id}: {error}");
    }
}

/// The bytes for the next stage, or `None` if the connection ends here.
async fn run_listener_filters(
    io: BoxIo,
    info: &SharedStreamInfo,
    listener: &Rc<ActiveListener>,
) -> Option<BoxIo> {
    let base = listener.base();
    let mut socket = AcceptedSocket { io, info: Rc::clone(info), worker: Rc::clone(listener.worker()) };
    let inspection = inspect(base, &mut socket);
    let outcome = match base.listener_filters_timeout {
        None => inspection.await,
        Some(limit) => match timeout(limit, inspection).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                base.stats.downstream_pre_cx_timeout.inc();
                if base.continue_on_listener_filters_timeout {
                    return Some(socket.io);
                }
                io::refuse(socket.io);
                return None;
            }
        },
    };
    match outcome {
        Ok(()) => return Some(socket.io),
        Err(ListenerFilterError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            base.stats.downstream_listener_filter_remote_close.inc();
        }
        Err(ListenerFilterError::Io(_)) => base.stats.downstream_listener_filter_error.inc(),
        // The filter has counted what it did not like.
        Err(error) => {
            tracing::debug!(target: "conn_handler", "{}: a listener filter refused: {error}", base.name);
        }
    }
    io::refuse(socket.io);
    None
}

async fn inspect(base: &ListenerBase, socket: &mut AcceptedSocket) -> Result<(), ListenerFilterError> {
    for filter in &base.listener_filters {
        filter.inspect(socket).await?;
    }
    Ok(())
}

/// The listener that a connection is handed on to because a listener filter found where it was meant to go.
fn restored_destination(
    info: &SharedStreamInfo,
    listener: &Rc<ActiveListener>,
) -> Option<Rc<ActiveListener>> {
    let restored = listener.base().use_original_dst && info.local_address_restored.get();
    restored.then(|| listener.neighbour_at(info.addresses.borrow().local())).flatten()
}

fn refuse(io: BoxIo, info: &SharedStreamInfo, base: &ListenerBase) {
    io::refuse(io);
    base.stats.no_filter_chain_match.inc();
    info.set_flag(ResponseFlag::NoRouteFound);
    *info.details.response_code_details.borrow_mut() = Some(FILTER_CHAIN_NOT_FOUND.into());
}

/// The bytes for the network filters, or `None` if the connection ends here.
async fn run_transport_socket(
    transport_socket: &dyn DownstreamTransportSocket,
    io: BoxIo,
    info: &SharedStreamInfo,
    chain: &FilterChain,
    base: &ListenerBase,
) -> Option<BoxIo> {
    let accept = transport_socket.accept(io, info);
    let outcome = match chain.transport_socket_connect_timeout {
        None => accept.await,
        Some(limit) => match timeout(limit, accept).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                base.stats.downstream_cx_transport_socket_connect_timeout.inc();
                return None;
            }
        },
    };
    let failed = |error: underpass_core::transport_socket::TransportError| {
        *info.details.downstream_transport_failure_reason.borrow_mut() = Some(error.to_string());
    };
    outcome.map_err(failed).ok()
}

/// A panic is a bug in a filter. It ends this connection; the others do not notice.
fn note_panic(base: &ListenerBase, panic: &(dyn Any + Send)) {
    base.stats.underpass_filter_panic.inc();
    if base.panic_logged.swap(true, Ordering::Relaxed) {
        return;
    }
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    tracing::error!(
        target: "conn_handler",
        "{}: a filter panicked, its connection is closed: {text} (said once; underpass_filter_panic counts)",
        base.name
    );
}

impl Served {
    pub(super) fn new(io: BoxIo, info: SharedStreamInfo, counted: CountedEverywhere, place: Place) -> Self {
        let (active_after, log) = (DurationCell::default(), Cell::new(true));
        Self { io: Cell::new(Some(io)), info, active_after, log, counted, place }
    }

    fn listener(&self) -> &Rc<ActiveListener> {
        self.place.listener()
    }

    fn connection(&self, io: BoxIo, chain: &FilterChain) -> Connection {
        Connection {
            io,
            info: Rc::clone(&self.info),
            worker: Rc::clone(self.listener().worker()),
            drain: chain.drain.watch(),
            buffer_limit: self.listener().base().buffer_limit,
        }
    }

    /// The connection has a filter chain: it is in the stats from now on.
    fn becomes_active(&self) {
        let (stats, worker) = (&self.listener().base().stats, self.listener().per_worker_stats());
        stats.downstream_cx_total.inc();
        worker.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        worker.downstream_cx_active.inc();
        // Where nothing had to be waited for, that is when it was accepted.
        let at_once = self.listener().base().listener_filters.is_empty();
        self.active_after.set(Some(if at_once { Duration::ZERO } else { self.info.duration() }));
    }

    fn note_end_of_activity(&self, after: Duration) {
        let (stats, worker) = (&self.listener().base().stats, self.listener().per_worker_stats());
        stats.downstream_cx_destroy.inc();
        // It is complete, so the clock need not be read again.
        let length = self.info.duration().saturating_sub(after);
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        stats.downstream_cx_length_ms.record(length);
        stats.downstream_cx_active.dec();
        worker.downstream_cx_active.dec();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let base = self.listener().base();
        if self.log.get() {
            self.info.complete();
        }
        if self.log.get() && !base.access_logs.is_empty() {
            // A second panic while one unwinds would end the process.
            let written = catch_unwind(AssertUnwindSafe(|| base.log(&self.info)));
            if let Err(panic) = written {
                note_panic(base, &*panic);
            }
        }
        // The log is written before the gauges go down: who sees a gauge at zero finds the log complete.
        if let Some(after) = self.active_after.get() {
            self.note_end_of_activity(after);
        }
        if self.counted.by_listener.is_none() {
            base.connections.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F: Future>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_memory_of_its_own() {
        // What filters keep for it comes on top, in boxes of their own.
        // tokio adds 104 bytes and rounds up to 128: this is what makes it 256 bytes in all.
        assert!(size_of_future(serve) <= 152, "{} bytes", size_of_future(serve));
    }
}
