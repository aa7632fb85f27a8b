//! One connection from its first moment to its last.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use underpass_core::{
    cluster::ConnectionLease,
    connection::{BoxFuture, Connection, ConnectionError},
    io::{BoxIo, refuse},
    relay::{BufferPool, OwnedRelay, RelayOptions},
    response_flags::ResponseFlag,
    stream_info::SharedStreamInfo,
    timers::Alarm,
    turns::Turns,
    worker::Worker,
};

use crate::{
    client::EarlyData,
    connect,
    ending::{self, TimeUp, Unconnected},
    overrides::{IdleTimeoutOverride, receives_before_connect},
    settings::Settings,
    traffic::{DownstreamTraffic, RelayTraffic},
    tunneling::ResponseTrailers,
    upstream::Upstream,
};

/// Serves a connection until it is done. It is a future written by hand, since one lives as long as each connection and each hop
/// of it: an `async` function would keep what it was called with, and what came before, beside what is needed to the end.
pub(crate) struct Session<'a> {
    settings: &'a Settings,
    info: SharedStreamInfo,
    stage: Stage<'a>,
    /// Logs again and again, where that is wanted. Boxed once more, since few have it.
    periodic_log: Option<Box<BoxFuture<'a, Infallible>>>,
}

#[allow(clippy::large_enum_variant, reason = "the large one stays; it is not as large without HTTP")]
enum Stage<'a> {
    Connecting(BoxFuture<'a, Result<Relaying, ConnectionError>>),
    Relaying(Relaying),
    Ending,
    Done,
}

/// A connection with its upstream connection.
struct Relaying {
    relay: OwnedRelay,
    lease: Option<Box<dyn ConnectionLease>>,
    trailers: Option<ResponseTrailers>,
}

impl<'a> Session<'a> {
    /// A session that starts now.
    pub(crate) fn new(settings: &'a Settings, connection: Connection) -> Self {
        let Connection { io, info, worker, buffer_limit, drain: _ } = connection;
        settings.stats.downstream_cx_total.inc();
        // As in Envoy, each TCP connection has one.
        info.has_random_id.set(true);
        settings.log.start(&info);
        let periodic_log = settings.log.interval.map(|interval| {
            let info = Rc::clone(&info);
            let log: BoxFuture<'a, _> =
                Box::pin(async move { settings.log.periodically(&info, interval).await });
            Box::new(log)
        });
        let stage = Stage::Connecting(Beginning::new(settings, &info, worker, io, buffer_limit).run());
        Self { settings, info, stage, periodic_log }
    }
}

impl Future for Session<'_> {
    type Output = Result<(), ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(log) = &mut this.periodic_log
            && let Poll::Ready(never) = log.as_mut().as_mut().poll(cx)
        {
            match never {}
        }
        let outcome = loop {
            match &mut this.stage {
                Stage::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(relaying) => this.stage = Stage::Relaying(relaying),
                    Err(why) => break Err(why),
                },
                Stage::Relaying(relaying) => {
                    let end = ready!(Pin::new(&mut relaying.relay).poll(cx));
                    let Stage::Relaying(relaying) = std::mem::replace(&mut this.stage, Stage::Ending) else {
                        continue;
                    };
                    let Relaying { relay, lease, trailers } = relaying;
                    let (downstream, upstream) = relay.into_streams();
                    if let Some(trailers) = trailers {
                        trailers.propagate(&this.info);
                    }
                    break ending::relayed(
                        end,
                        &this.info,
                        &this.settings.stats,
                        downstream,
                        upstream,
                        lease,
                    );
                }
                // Whoever polls it again has its answer already.
                Stage::Ending | Stage::Done => return Poll::Pending,
            }
        };
        this.finish();
        Poll::Ready(outcome)
    }
}

impl Session<'_> {
    /// Everything of the connection goes, and then its end is logged: once, however it comes about.
    fn finish(&mut self) {
        self.stage = Stage::Done;
        self.periodic_log = None;
        self.settings.log.end(&self.info);
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Done) {
            self.finish();
        }
    }
}

/// A connection that has no upstream connection yet.
struct Beginning<'a> {
    settings: &'a Settings,
    info: SharedStreamInfo,
    worker: Rc<Worker>,
    downstream: BoxIo,
    downstream_buffer_limit: usize,
    traffic: DownstreamTraffic,
    began: Instant,
    idle_timeout: Option<Duration>,
    /// When the connection has to end, however busy it is.
    deadline: Option<Instant>,
}

impl<'a> Beginning<'a> {
    fn new(
        settings: &'a Settings,
        info: &SharedStreamInfo,
        worker: Rc<Worker>,
        downstream: BoxIo,
        downstream_buffer_limit: usize,
    ) -> Self {
        let state = info.filter_state.borrow();
        let began = Instant::now();
        let idle_timeout = state.get_as::<IdleTimeoutOverride>(IdleTimeoutOverride::KEY);
        Self {
            settings,
            info: Rc::clone(info),
            worker,
            downstream,
            downstream_buffer_limit,
            traffic: DownstreamTraffic::new(Rc::clone(info), Arc::clone(&settings.stats)),
            began,
            idle_timeout: idle_timeout.map(|timeout| timeout.0).or(settings.idle_timeout),
            deadline: settings.max_duration.as_ref().map(|duration| duration.deadline(began)),
        }
    }

    /// Boxed, so that a connection that is relayed does not keep the memory of its beginning.
    fn run(mut self) -> BoxFuture<'a, Result<Relaying, ConnectionError>> {
        Box::pin(async move {
            let mut time_up = self.time_up();
            let (mut upstream, early_data) = match self.connect(&mut time_up).await {
                Ok(connected) => connected,
                Err(why) => {
                    ending::pass_on_refusal(why.refusal(), &self.downstream);
                    refuse(self.downstream);
                    return Err(ending::unconnected(why, &self.info, &self.settings.stats));
                }
            };
            ending::pass_on_asking(upstream.io.refusal_note(), &self.downstream);
            let shared = self.info.filter_state.borrow().shared_with_upstream();
            *self.info.upstream.filter_state.borrow_mut() = shared;
            self.settings.log.connected(&self.info);
            reads_begin(&mut upstream.io, self.worker.turns()).await;
            Ok(self.relay(upstream, early_data, time_up))
        })
    }

    fn relay(self, upstream: Upstream, early_data: Bytes, time_up: FirstTimeUp) -> Relaying {
        let is_connection = upstream.lease.is_some();
        let early = early_data.len();
        let options = RelayOptions {
            downstream_buffer_limit: self.downstream_buffer_limit,
            upstream_buffer_limit: upstream.cluster.buffer_limit,
            idle_timeout: self.idle_timeout,
            deadline: self.deadline,
            // The stream of a tunnel takes its share of a connection that others use, too.
            watch_aborts: upstream.lease.is_none() && self.settings.tunnels_notice_aborts,
            fuse_hops: self.settings.fuses_hops,
            early_data,
            pool: (*self.worker.slots().get_or_insert_with(BufferPool::new)).clone(),
            timers: self.worker.timers().clone(),
        };
        let traffic = Rc::new(RelayTraffic::new(self.traffic, upstream.cluster, is_connection, early));
        let downstream = match upstream.for_client {
            Some(for_client) => for_client.wrap(self.downstream),
            None => self.downstream,
        };
        let alarm = time_up.0.map(|(alarm, _)| alarm);
        let relay = OwnedRelay::new(downstream, upstream.io, options, traffic, alarm);
        Relaying { relay, lease: upstream.lease, trailers: upstream.trailers }
    }

    /// Its times, counted from its beginning.
    fn time_up(&self) -> FirstTimeUp {
        let idle = self.idle_timeout.map(|timeout| (self.began + timeout, TimeUp::Idle));
        let duration = self.deadline.map(|deadline| (deadline, TimeUp::Duration));
        let first = [idle, duration].into_iter().flatten().min_by_key(|(at, _)| *at);
        FirstTimeUp(first.map(|(at, which)| (self.worker.timers().at(at), which)))
    }

    /// Gets an upstream connection, and what the client has sent meanwhile.
    async fn connect(&mut self, time_up: &mut FirstTimeUp) -> Result<(Upstream, Bytes), Unconnected> {
        let Self { settings, info, worker, downstream, traffic, began, .. } = self;
        let legacy_limit = || receives_before_connect(&info.filter_state.borrow()).then_some(0);
        let limit = settings.early_data_limit.or_else(legacy_limit);
        let mut early = EarlyData::new(limit, settings.notices_reset_while_connecting);
        let hop = downstream.refusal_note();
        let connecting = async {
            let mut started = began.into_std();
            if settings.connects_on_data {
                early.first_byte(downstream, traffic).await.map_err(Unconnected::ClientGone)?;
                started = std::time::Instant::now();
            }
            let outcome = tokio::select! {
                biased;
                outcome = connect::connect(settings, worker, info, hop.as_ref(), started) => {
                    outcome.map_err(|(why, refusal)| Unconnected::GivenUp(why, refusal))
                }
                error = early.until_gone(downstream, traffic) => Err(Unconnected::ClientGone(error)),
            };
            let ready = info.upstream.connected.get().filter(|_| outcome.is_ok());
            let ready = ready.unwrap_or_else(std::time::Instant::now);
            info.upstream.connection_pool_ready.set(Some(ready.saturating_duration_since(started)));
            outcome
        };
        let connection = tokio::select! {
            biased;
            outcome = connecting => outcome?,
            time = time_up => {
                // Envoy takes the stream that is reset then for a connection that failed.
                if settings.has_tunnel(info) && info.upstream.connection_id.get().is_some() {
                    info.set_flag(ResponseFlag::UpstreamConnectionFailure);
                }
                return Err(Unconnected::TimeUp(time));
            }
        };
        Ok((connection, early.into_bytes()))
    }
}

/// Envoy begins to read from the client when it is connected upstream, which takes effect in a later turn of its event
/// loop. An internal listener that has closed by then has got nothing from the client. One that is connected itself, and a host
/// behind the kernel, are further away from closing than a turn: nothing can be told of them by waiting.
async fn reads_begin(upstream: &mut BoxIo, turns: &Turns) {
    let is_established = upstream.user_space_socket().is_some_and(|socket| socket.is_established());
    if !is_established && upstream.kernel_socket().is_none() {
        turns.pass(2).await;
    }
}

/// Waits until one of a connection's times is up, if it has any.
struct FirstTimeUp(Option<(Alarm, TimeUp)>);

impl Future for FirstTimeUp {
    type Output = TimeUp;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TimeUp> {
        let Some((alarm, which)) = &mut self.0 else { return Poll::Pending };
        Pin::new(alarm).poll(cx).map(|()| *which)
    }
}
