//! Attempts to get an upstream connection.

use std::{rc::Rc, time::Instant};

use tokio::task::yield_now;
use underpass_core::{
    cluster::{LoadBalancerContext, PoolFailure, PoolFailureReason},
    response_flags::ResponseFlag,
    stream_info::{SharedStreamInfo, StreamInfo},
    user_space_socket::{Refusal, RefusalNote},
    worker::Worker,
};

use crate::{
    backoff::Backoff,
    settings::Settings,
    upstream::{Attempt, OpenFailure, Upstream, open_raw},
};

/// Why a connection gets no upstream connection. The numbers are Envoy's, who logs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub(crate) enum GivenUp {
    #[error("connecting upstream failed")]
    ConnectFailed = 0,
    #[error("no host of the cluster is available")]
    NoHealthyUpstream = 1,
    #[error("the cluster has too many connections")]
    ResourceLimitExceeded = 2,
    #[error("the cluster does not exist")]
    NoRoute = 3,
}

impl GivenUp {
    /// `%DOWNSTREAM_LOCAL_CLOSE_REASON%`; the spelling is Envoy's.
    pub(crate) fn close_reason(self) -> String {
        format!("tcp_initializion_failure:{}", self as u8)
    }
}

/// Tries to connect upstream as often as the configuration allows, and leaves in `info` what is to be known of it.
///
/// The first attempt starts at that moment, which is now. Each picks its route and its host anew. As in Envoy, flags and reasons of failed attempts stay when a later one
/// succeeds.
///
/// # Errors
/// Why it was given up, and what the last proxy answered that was asked for a tunnel.
pub(crate) async fn connect(
    settings: &Settings,
    worker: &Rc<Worker>,
    info: &SharedStreamInfo,
    hop: Option<&RefusalNote>,
    mut started: Instant,
) -> Result<Upstream, (GivenUp, Option<Refusal>)> {
    let mut waits = settings.backoff.map(Backoff::waits);
    loop {
        match attempt(settings, worker, info, hop, started).await {
            Ok(connection) => return Ok(connection),
            Err(Failure::Final(why, refusal)) => return Err((why, refusal)),
            Err(Failure::ThisTime) => {}
        }
        match waits.as_mut().and_then(Iterator::next) {
            Some(wait) => tokio::time::sleep(wait).await,
            // Others come first, as behind Envoy's retry timer of zero.
            None => yield_now().await,
        }
        started = Instant::now();
    }
}

enum Failure {
    Final(GivenUp, Option<Refusal>),
    ThisTime,
}

async fn attempt(
    settings: &Settings,
    worker: &Rc<Worker>,
    info: &SharedStreamInfo,
    hop: Option<&RefusalNote>,
    started: Instant,
) -> Result<Upstream, Failure> {
    let route = settings.routes.pick(info);
    let Some(cluster) = worker.cluster_manager().and_then(|clusters| clusters.cluster(&route.cluster)) else {
        settings.stats.downstream_cx_no_route.inc();
        info.set_flag(ResponseFlag::NoClusterFound);
        return Err(Failure::Final(GivenUp::NoRoute, None));
    };
    *info.upstream.cluster.borrow_mut() = Some(cluster.info().clone());
    let context = LoadBalancerContext {
        hash: settings.hash_policy.as_ref().and_then(|policy| policy.hash(info)),
        metadata_match: route.metadata_match.as_deref(),
        downstream: Some(info),
        ..LoadBalancerContext::default()
    };
    let attempts = info.upstream.attempts.get() + 1;
    info.upstream.attempts.set(attempts);
    let attempt = Attempt { worker, cluster: &cluster, context: &context, info, hop };
    let opened = match settings.upstream(info) {
        Some(tunnel) => tunnel.open(attempt).await,
        None => open_raw(attempt).await,
    };
    let failure = match opened {
        Ok(upstream) => {
            info.upstream.connect_started.set(Some(started));
            info.upstream.connected.set(Some(Instant::now()));
            return Ok(upstream);
        }
        Err(failure) => failure,
    };
    tracing::debug!(target: "filter", "[C{}] attempt {attempts} to connect to {}: {failure}", info.connection_id, route.cluster);
    let refusal = note(failure, info)?;
    if attempts < settings.max_connect_attempts {
        return Err(Failure::ThisTime);
    }
    info.set_flag(ResponseFlag::UpstreamRetryLimitExceeded);
    cluster.info().stats.upstream_cx_connect_attempts_exceeded.inc();
    Err(Failure::Final(GivenUp::ConnectFailed, refusal))
}

/// Leaves in `info` what a failure means.
///
/// # Errors
/// If it is none of an attempt: nobody was asked to connect.
fn note(failure: OpenFailure, info: &StreamInfo) -> Result<Option<Refusal>, Failure> {
    match failure {
        OpenFailure::Pool(failure) => note_pool_failure(&failure, info).map(|()| None),
        OpenFailure::Tunnel { reason, refusal } => {
            info.set_flag(ResponseFlag::UpstreamConnectionFailure);
            *info.upstream.details.transport_failure_reason.borrow_mut() = reason;
            Ok(refusal)
        }
    }
}

fn note_pool_failure(failure: &PoolFailure, info: &StreamInfo) -> Result<(), Failure> {
    let not_tried = |flag, why| {
        info.upstream.attempts.update(|attempts| attempts - 1);
        info.set_flag(flag);
        Err(Failure::Final(why, None))
    };
    match failure.reason {
        PoolFailureReason::NoHealthyHost => {
            return not_tried(ResponseFlag::NoHealthyUpstream, GivenUp::NoHealthyUpstream);
        }
        PoolFailureReason::ConnectionOverflow => {
            return not_tried(ResponseFlag::UpstreamOverflow, GivenUp::ResourceLimitExceeded);
        }
        PoolFailureReason::RemoteConnectionFailure | PoolFailureReason::Timeout => {
            info.set_flag(ResponseFlag::UpstreamConnectionFailure);
        }
        PoolFailureReason::PendingOverflow | PoolFailureReason::LocalConnectionFailure => {}
    }
    info.upstream.host.borrow_mut().clone_from(&failure.host);
    failure.host.clone().into_iter().for_each(|host| info.upstream.note_attempt(host));
    info.upstream.details.transport_failure_reason.borrow_mut().clone_from(&failure.transport_failure_reason);
    Ok(())
}
