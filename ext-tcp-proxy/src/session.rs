//! One connection from its first moment to its last.

use std::{future::pending, pin::pin, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::yield_now, time::Instant};
use underpass_core::{
    connection::{Connection, ConnectionError},
    io::{BoxIo, refuse},
    relay::{BufferPool, RelayOptions, relay},
    response_flags::ResponseFlag,
    stream_info::SharedStreamInfo,
    timers::Timers,
    worker::Worker,
};

use crate::{
    client::EarlyData,
    connect,
    ending::{self, TimeUp, Unconnected},
    overrides::{IdleTimeoutOverride, receives_before_connect},
    settings::{MaxDuration, Settings},
    traffic::{DownstreamTraffic, RelayTraffic},
    upstream::Upstream,
};

/// Serves a connection until it is done.
pub(crate) async fn serve(settings: &Settings, connection: Connection) -> Result<(), ConnectionError> {
    let Connection { io, info, worker, buffer_limit, .. } = connection;
    settings.stats.downstream_cx_total.inc();
    // As in Envoy, each TCP connection has one.
    info.has_random_id.set(true);
    let _logs_the_end = settings.log.start(&info);
    let session = Session::new(settings, &info, &worker, io, buffer_limit);
    // Pinned once: two branches with a session each would take twice the memory.
    let mut work = pin!(session.run());
    match settings.log.interval {
        None => work.await,
        Some(interval) => tokio::select! {
            outcome = &mut work => outcome,
            never = settings.log.periodically(&info, interval) => match never {},
        },
    }
}

struct Session<'a> {
    settings: &'a Settings,
    info: &'a SharedStreamInfo,
    worker: &'a Rc<Worker>,
    downstream: BoxIo,
    downstream_buffer_limit: usize,
    traffic: DownstreamTraffic,
    idle_timeout: Option<Duration>,
    /// When the connection has to end, however busy it is.
    deadline: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(
        settings: &'a Settings,
        info: &'a SharedStreamInfo,
        worker: &'a Rc<Worker>,
        downstream: BoxIo,
        downstream_buffer_limit: usize,
    ) -> Self {
        let state = info.filter_state.borrow();
        let idle_timeout = state.get_as::<IdleTimeoutOverride>(IdleTimeoutOverride::KEY);
        Self {
            settings,
            info,
            worker,
            downstream,
            downstream_buffer_limit,
            traffic: DownstreamTraffic::new(Rc::clone(info), Arc::clone(&settings.stats)),
            idle_timeout: idle_timeout.map(|timeout| timeout.0).or(settings.idle_timeout),
            deadline: settings.max_duration.as_ref().map(MaxDuration::deadline),
        }
    }

    async fn run(mut self) -> Result<(), ConnectionError> {
        let (settings, info) = (self.settings, self.info);
        // Boxed, so that a connection that is relayed does not keep the memory of its beginning.
        let (mut upstream, early_data) = match Box::pin(self.connect()).await {
            Ok(connected) => connected,
            Err(why) => {
                ending::pass_on_refusal(why.refusal(), &self.downstream);
                refuse(self.downstream);
                return Err(ending::unconnected(why, info, &settings.stats));
            }
        };
        ending::pass_on_asking(upstream.io.refusal_note(), &self.downstream);
        *info.upstream.filter_state.borrow_mut() = info.filter_state.borrow().shared_with_upstream();
        settings.log.connected(info);
        reads_begin(&upstream.io).await;
        let is_connection = upstream.lease.is_some();
        let cluster = Arc::clone(&upstream.cluster);
        let early = early_data.len();
        let options = self.relay_options(&upstream, early_data);
        let traffic = Rc::new(RelayTraffic::new(self.traffic, cluster, is_connection, early));
        if let Some(for_client) = upstream.for_client.take() {
            self.downstream = for_client.wrap(self.downstream);
        }
        let end = relay(&mut self.downstream, &mut upstream.io, options, traffic).await;
        if let Some(trailers) = upstream.trailers.take() {
            trailers.propagate(info);
        }
        ending::relayed(end, info, &settings.stats, &mut self.downstream, upstream)
    }

    fn relay_options(&self, upstream: &Upstream, early_data: Bytes) -> RelayOptions {
        RelayOptions {
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
        }
    }

    /// Gets an upstream connection, and what the client has sent meanwhile.
    async fn connect(&mut self) -> Result<(Upstream, Bytes), Unconnected> {
        let Self { settings, info, worker, downstream, traffic, .. } = self;
        let legacy_limit = || receives_before_connect(&info.filter_state.borrow()).then_some(0);
        let limit = settings.early_data_limit.or_else(legacy_limit);
        let mut early = EarlyData::new(limit, settings.notices_reset_while_connecting);
        let time_up = time_up(worker.timers(), self.idle_timeout, self.deadline);
        let hop = downstream.refusal_note();
        let connecting = async {
            if settings.connects_on_data {
                early.first_byte(downstream, traffic).await.map_err(Unconnected::ClientGone)?;
            }
            let started = Instant::now();
            let outcome = tokio::select! {
                biased;
                outcome = connect::connect(settings, worker, info, hop.as_ref()) => {
                    outcome.map_err(|(why, refusal)| Unconnected::GivenUp(why, refusal))
                }
                error = early.until_gone(downstream, traffic) => Err(Unconnected::ClientGone(error)),
            };
            info.upstream.connection_pool_ready.set(Some(started.elapsed()));
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
/// loop. An internal listener that has closed by then has got nothing from the client. A host behind the kernel is further
/// away than a turn: nothing can be told of it by waiting.
async fn reads_begin(upstream: &BoxIo) {
    if upstream.kernel_socket().is_some() {
        return;
    }
    for _turn in 0..2 {
        yield_now().await;
    }
}

/// Waits until one of a connection's times is up that starts now.
fn time_up(
    timers: &Timers,
    idle_timeout: Option<Duration>,
    deadline: Option<Instant>,
) -> impl Future<Output = TimeUp> {
    let idle = idle_timeout.map(|timeout| (Instant::now() + timeout, TimeUp::Idle));
    let duration = deadline.map(|deadline| (deadline, TimeUp::Duration));
    let first = [idle, duration].into_iter().flatten().min_by_key(|(at, _)| *at);
    let first = first.map(|(at, which)| (timers.at(at), which));
    async move {
        match first {
            Some((alarm, which)) => {
                alarm.await;
                which
            }
            None => pending().await,
        }
    }
}
