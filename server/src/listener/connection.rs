//! One connection, from accept to its end: a single task that passes through all that the listener has for it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use futures_util::FutureExt;
use tokio::time::timeout;
use underpass_core::{
    connection::Connection,
    io::{self, BoxIo},
    listener_filter::{AcceptedSocket, ListenerFilterError},
    network_filter::Next,
    response_flags::ResponseFlag,
    stats::GaugeHold,
    stream_info::SharedStreamInfo,
};

use super::{
    ListenerBase,
    active_listener::{ActiveListener, Place},
    connection_limit::Counted,
    filter_chain::FilterChain,
};

/// What Envoy notes where no filter chain matched.
const FILTER_CHAIN_NOT_FOUND: &str = "filter_chain_not_found";

/// A connection that was let in.
pub(super) struct Arrival {
    pub(super) io: BoxIo,
    pub(super) info: SharedStreamInfo,
    pub(super) place: Place,
    /// Limits count it as long as it lives.
    pub(super) counted: Vec<Counted>,
}

/// Serves a connection to its end. If it is dropped halfway (drain, shutdown), its logs are written all the same.
pub(super) async fn serve(arrival: Arrival) {
    let Arrival { io, info, place, counted: _counted } = arrival;
    let base = Arc::clone(place.listener().base());
    let mut ending = Ending { base: Arc::clone(&base), info: Rc::clone(&info), active: None, log: true };
    let stages = AssertUnwindSafe(pass(io, &info, &place, &mut ending)).catch_unwind();
    if let Err(panic) = stages.await {
        note_panic(&base, &*panic);
    }
}

/// Listener filters, filter chain match, transport socket, network filters.
async fn pass(io: BoxIo, info: &SharedStreamInfo, place: &Place, ending: &mut Ending) {
    let listener = place.listener();
    let base = listener.base();
    let in_listener_filters = base.stats.downstream_pre_cx_active.hold();
    let Some(io) = run_listener_filters(io, info, listener).await else { return };
    drop(in_listener_filters);
    if let Some(other) = restored_destination(info, listener) {
        ending.log = false;
        return other.adopt(io, info);
    }
    let version = listener.version();
    let Some(chain) = version.chains.find(info) else { return refuse(io, info, base) };
    place.set_chain(chain);
    ending.active = Some(Active::new(listener));
    *info.filter_chain_name.borrow_mut() = (!chain.name.is_empty()).then(|| Arc::clone(&chain.name));
    let Some(io) = run_transport_socket(io, info, chain, base).await else { return };
    let connection = Connection {
        io,
        info: Rc::clone(info),
        worker: Rc::clone(listener.worker()),
        drain: chain.drain.watch(),
        buffer_limit: base.buffer_limit,
    };
    if let Err(error) = Next::new(&chain.filters).run(connection).await {
        tracing::debug!(target: "conn_handler", "{}: connection {}: {error}", base.name, info.connection_id);
    }
}

/// The bytes for the next stage, or `None` if the connection ends here.
async fn run_listener_filters(
    io: BoxIo,
    info: &SharedStreamInfo,
    listener: &Rc<ActiveListener>,
) -> Option<BoxIo> {
    let base = listener.base();
    if base.listener_filters.is_empty() {
        return Some(io);
    }
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
    io: BoxIo,
    info: &SharedStreamInfo,
    chain: &FilterChain,
    base: &ListenerBase,
) -> Option<BoxIo> {
    let Some(transport_socket) = &chain.transport_socket else { return Some(io) };
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

/// What has to happen at the end of a connection, however it comes.
struct Ending {
    base: Arc<ListenerBase>,
    info: SharedStreamInfo,
    active: Option<Active>,
    /// Whether the end is this listener's to log.
    log: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.log {
            // A second panic while one unwinds would end the process.
            let written = catch_unwind(AssertUnwindSafe(|| self.base.log(&self.info)));
            if let Err(panic) = written {
                note_panic(&self.base, &*panic);
            }
        }
        // The log is written before the gauges go down: who sees a gauge at zero finds the log complete.
        drop(self.active.take());
    }
}

/// A connection that has a filter chain, in the stats.
struct Active {
    listener: Rc<ActiveListener>,
    since: Instant,
    _gauges: [GaugeHold; 2],
}

impl Active {
    fn new(listener: &Rc<ActiveListener>) -> Self {
        let (stats, worker) = (&listener.base().stats, listener.per_worker_stats());
        stats.downstream_cx_total.inc();
        worker.downstream_cx_total.inc();
        let gauges = [stats.downstream_cx_active.hold(), worker.downstream_cx_active.hold()];
        Self { listener: Rc::clone(listener), since: Instant::now(), _gauges: gauges }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let stats = &self.listener.base().stats;
        stats.downstream_cx_destroy.inc();
        stats
            .downstream_cx_length_ms
            .record(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
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
        assert!(size_of_future(serve) <= 640, "{} bytes", size_of_future(serve));
    }
}
