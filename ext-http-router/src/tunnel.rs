//! Raw bytes both ways: a CONNECT that ended here, or an upgrade that the upstream accepted.
//!
//! How tunnels end, with `underpass.features.connect_half_close` and, where Envoy 1.40 was seen to differ, without it:
//!
//! | what happens | the other side | without the feature |
//! |---|---|---|
//! | the client finishes (HTTP/1) | the upstream sees the end, and can answer | both connections end, flag `DC` |
//! | the client finishes (HTTP/2) | the upstream sees the end, and can answer | |
//! | the upstream finishes | the client sees the end, and can go on | the stream ends |
//! | the client resets | the upstream sees it, flag `DC` | |
//! | the upstream resets | HTTP/2: the stream is reset; HTTP/1: the connection ends; flag `UC` | |

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Version};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;
use underpass_core::{
    cluster::{ClosedBy, ClusterInfo, ConnectionLease, Outcome, UpstreamConnection},
    io::{BoxIo, Io},
    relay::{Accounting, BufferPool, RelayEnd, RelayOptions, Side, relay},
    response_flags::ResponseFlag,
    runtime::{CONNECT_HALF_CLOSE, TUNNEL_ABORT},
    stream_info::{DetectedClose, SharedStreamInfo, StreamInfo},
};
use underpass_http::{
    Body, BodyError, HttpStream,
    body_io::BodyIo,
    reset::{ResetReason, StreamReset},
    tunnel::Tunnel,
};

use crate::{
    answer::Answered,
    failure::{details, flag},
    request::Request,
    upstream_log::AttemptLog,
};

/// How long a client that is told of the end may take to end its side, while what it still sends is read and dropped.
const LINGER: Duration = Duration::from_secs(1);

/// The body of the answer to an upgrade that goes on as `io`.
pub(crate) fn by_stream(io: BoxIo, request: Request, answered: Answered) -> Body {
    body(Session { upstream: io, lease: None, request, answered })
}

/// The body of the answer to a CONNECT that goes on by a connection of its own.
pub(crate) fn by_connection(connection: UpstreamConnection, request: Request, answered: Answered) -> Body {
    let UpstreamConnection { io, lease, .. } = connection;
    body(Session { upstream: io, lease: Some(lease), request, answered })
}

fn body(session: Session) -> Body {
    if !is_post(&session.request.stream) {
        return Body::tunnel(Tunnel::new(|downstream| Box::pin(session.run(downstream))));
    }
    // The client's half is the body of its request, this one's is the body of the answer.
    let sent = session.request.body.for_attempt();
    let (sender, body) = Body::channel(session.request.stream.connection.buffer_limit);
    let downstream = Box::new(BodyIo::new(sent, sender, None));
    let running = tokio::task::spawn_local(session.run(downstream));
    Body::boxed(RawAnswer { body, running })
}

/// The body of the answer to a POST whose bytes are raw.
struct RawAnswer {
    body: Body,
    running: tokio::task::JoinHandle<()>,
}

impl http_body::Body for RawAnswer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RawAnswer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Both sides, and what is to be known of them.
struct Session {
    upstream: BoxIo,
    /// Of a connection of its own; a pool counts for itself.
    lease: Option<Box<dyn ConnectionLease>>,
    request: Request,
    answered: Answered,
}

/// How a tunnel ended.
enum End {
    Relay(RelayEnd),
    /// The client finished first, and the tunnel ends with it.
    ClientFinished,
    /// The upstream finished first, and the tunnel ends with it.
    UpstreamFinished,
}

impl Session {
    async fn run(self, mut downstream: BoxIo) {
        let Self { mut upstream, lease, request, answered } = self;
        let stream = Rc::clone(&request.stream);
        let cluster = Arc::clone(request.cluster.info());
        let traffic = Rc::new(Traffic {
            info: Rc::clone(&stream.info),
            // What bodies carry was counted by who made them.
            counts_stream: !is_post(&stream),
            log: answered.log.clone(),
            of_connection: lease.is_some().then(|| Arc::clone(&cluster)),
        });
        let end = match pump(&mut downstream, &mut upstream, &stream, &cluster, traffic).await {
            // A stream that is reset behind its end says that nothing more is wanted.
            End::Relay(RelayEnd::Failed { side: Side::Upstream, after_end: true, .. }) if lease.is_none() => {
                End::UpstreamFinished
            }
            end => end,
        };
        let closed_by = note_end(&end, &stream, &answered, &mut downstream, &mut upstream);
        drop(upstream);
        if let Some(lease) = lease {
            lease.close(closed_by);
        }
        drop(answered);
        // An HTTP/2 stream that is dropped is reset behind its end, and nothing is lost.
        if matches!(end, End::UpstreamFinished) && stream.request().version != Version::HTTP_2 {
            let _ = tokio::time::timeout(LINGER, drain(&mut downstream)).await;
        }
    }
}

/// Pumps until the tunnel ends.
async fn pump(
    downstream: &mut BoxIo,
    upstream: &mut BoxIo,
    stream: &HttpStream,
    cluster: &ClusterInfo,
    traffic: Rc<Traffic>,
) -> End {
    let worker = stream.worker();
    let half_closes = half_closes(stream);
    let is_raw_http1 = stream.request().version != Version::HTTP_2 && !is_post(stream);
    let runtime = worker.server().runtime.snapshot();
    let options = RelayOptions {
        downstream_buffer_limit: stream.connection.buffer_limit,
        upstream_buffer_limit: cluster.buffer_limit,
        watch_aborts: runtime.feature(TUNNEL_ABORT),
        fuse_hops: runtime.hop_fusion(),
        pool: (*worker.slots().get_or_insert_with(BufferPool::new)).clone(),
        timers: worker.timers().clone(),
        ..RelayOptions::default()
    };
    let mut relay = pin!(relay(downstream, upstream, options, traffic));
    poll_fn(|cx| {
        let end = relay.as_mut().poll(cx).map(End::Relay);
        if half_closes || end.is_ready() {
            return end;
        }
        if is_raw_http1 && relay.has_ended(Side::Downstream) {
            return Poll::Ready(End::ClientFinished);
        }
        if relay.has_delivered(Side::Upstream) {
            return Poll::Ready(End::UpstreamFinished);
        }
        Poll::Pending
    })
    .await
}

/// Whether bytes travel in bodies, since the route takes a POST for a CONNECT.
fn is_post(stream: &HttpStream) -> bool {
    stream.request().method == Method::POST
}

fn half_closes(stream: &HttpStream) -> bool {
    stream.worker().server().runtime.snapshot().feature(CONNECT_HALF_CLOSE)
}

/// Leaves in the stream's info what an end means, and tells both sides. Returns who closed the upstream.
fn note_end(
    end: &End,
    stream: &HttpStream,
    answered: &Answered,
    downstream: &mut BoxIo,
    upstream: &mut BoxIo,
) -> ClosedBy {
    let info = &stream.info;
    let is_http2 = stream.request().version == Version::HTTP_2;
    let half_closes = half_closes(stream);
    match end {
        End::Relay(RelayEnd::Finished { first: Side::Downstream }) => {
            // Over HTTP/1 Envoy says so of every client that ends its side first.
            if !is_http2 && !is_post(stream) {
                client_is_gone(info);
            }
            ClosedBy::Remote
        }
        End::UpstreamFinished => ClosedBy::Remote,
        End::Relay(
            RelayEnd::Finished { first: Side::Upstream } | RelayEnd::IdleTimeout | RelayEnd::DurationTimeout,
        ) => ClosedBy::Local,
        End::ClientFinished => {
            client_is_gone(info);
            ClosedBy::Local
        }
        End::Relay(RelayEnd::Failed { side: Side::Downstream, error, .. }) => {
            if is_http2 && error.kind() == io::ErrorKind::ConnectionReset {
                info.set_flag(ResponseFlag::DownstreamRemoteReset);
                *info.details.response_code_details.borrow_mut() = Some("http2.remote_reset".into());
            } else {
                client_is_gone(info);
            }
            if error.kind() == io::ErrorKind::ConnectionReset {
                upstream.reset();
            }
            ClosedBy::Local
        }
        End::Relay(RelayEnd::Failed { side: Side::Upstream, error, .. }) => {
            let of_stream = error.get_ref().and_then(|error| error.downcast_ref::<StreamReset>());
            let reset = of_stream.cloned().unwrap_or_else(|| ResetReason::ConnectionTermination.into());
            info.set_flag(flag(reset.reason));
            *info.details.response_code_details.borrow_mut() =
                Some(details("upstream_reset_after_response_started", &reset).into());
            info.upstream.detected_close.set(DetectedClose::RemoteReset);
            answered.host.report(Outcome::RequestFailed);
            if let Some(log) = &answered.log {
                log.set_flag(flag(reset.reason));
            }
            // Over HTTP/1 Envoy ends the connection in order, so that the client takes what it got for all.
            if is_http2 || half_closes {
                downstream.reset();
            }
            ClosedBy::Remote
        }
    }
}

fn client_is_gone(info: &StreamInfo) {
    info.set_flag(ResponseFlag::DownstreamConnectionTermination);
    *info.details.response_code_details.borrow_mut() = Some("downstream_remote_disconnect".into());
}

/// Reads and drops what still comes.
async fn drain(downstream: &mut BoxIo) {
    let mut buffer = [0; 1024];
    while matches!(downstream.read(&mut buffer).await, Ok(1..)) {}
}

/// Counts the bytes of one tunnel.
struct Traffic {
    info: SharedStreamInfo,
    counts_stream: bool,
    log: Option<Rc<AttemptLog>>,
    /// Of a connection of its own; a pool counts for itself.
    of_connection: Option<Arc<ClusterInfo>>,
}

impl Accounting for Traffic {
    fn downstream_read(&self, n: u64) {
        if self.counts_stream {
            add(&self.info.bytes_received, n);
            self.info.details.last_byte_received.set(Some(Instant::now()));
        }
        if let Some(log) = &self.log {
            log.sent(n);
        }
        if self.of_connection.is_some() {
            add(&self.info.upstream.wire_bytes_sent, n);
        }
    }

    fn upstream_read(&self, n: u64) {
        if self.counts_stream {
            add(&self.info.bytes_sent, n);
            self.info.details.last_byte_sent.set(Some(Instant::now()));
        }
        if let Some(log) = &self.log {
            log.received(n);
        }
        if let Some(cluster) = &self.of_connection {
            add(&self.info.upstream.wire_bytes_received, n);
            cluster.stats.upstream_cx_rx_bytes_total.add(n);
        }
    }

    fn upstream_written(&self, n: u64) {
        if let Some(cluster) = &self.of_connection {
            cluster.stats.upstream_cx_tx_bytes_total.add(n);
        }
    }
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().wrapping_add(n));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: fn(Session, BoxIo) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_tunnel_takes_little_memory_of_its_own() {
        let size = size_of_future(Session::run);
        assert!(size <= 2300, "the future of a tunnel takes {size} bytes");
    }
}
