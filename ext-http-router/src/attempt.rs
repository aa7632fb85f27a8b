//! One attempt: a host, a place on a connection to it, the request, and the head of the answer.

use std::{collections::BTreeMap, pin::pin, rc::Rc, sync::Arc};

use http::{HeaderValue, Method};
use tokio::time::Instant;
use underpass_core::{
    cluster::{Host, LoadBalancerContext, PoolFailure, PoolFailureReason},
    config::Value,
    stream_info::StreamInfo,
};
use underpass_http::{
    HttpStream,
    message_headers::MessageHeaders,
    reset::{ResetReason, StreamReset},
    upstream::{self, PoolRequest, PooledStream},
};

use crate::{
    answer::{Answer, Way},
    clock::TimeUp,
    connect,
    failure::{Failure, What},
    request::Request,
    upstream_log::AttemptLog,
};

/// What became of an attempt.
pub(crate) enum Outcome {
    /// There is an answer.
    Answered(Box<Answer>),
    /// There is none.
    Failed(Box<Failure>),
    /// There is no host.
    NoHost,
}

/// Makes one attempt.
pub(crate) async fn attempt(request: &mut Request) -> Outcome {
    if request.attempt > 1 {
        forget_attempt(&request.stream.info);
    }
    if connect::ends_here(request) {
        // Boxed, since most requests would only carry it.
        return Box::pin(connect::attempt(request)).await;
    }
    // A host is picked by the head that goes upstream.
    if request.attempt == 1 {
        request.finalize_head();
    }
    let Some(host) = choose_host(request) else { return Outcome::NoHost };
    let log = AttemptLog::start(request);
    match exchange(request, host, log.as_deref()).await {
        Ok((response, way, host)) => Outcome::Answered(Box::new(Answer { response, way, host, log })),
        Err((what, host)) => Outcome::Failed(Box::new(Failure { what, host, log })),
    }
}

type Failed = (What, Option<Arc<Host>>);

async fn exchange(
    request: &mut Request,
    host: Arc<Host>,
    log: Option<&AttemptLog>,
) -> Result<(underpass_http::Response, Way, Arc<Host>), Failed> {
    let mut place = acquire(request, &host).await?;
    let host = Arc::clone(place.host());
    let stream = Rc::clone(&request.stream);
    place.note(&stream.info);
    begin(request, &host, log);
    let Request { clock, body, .. } = request;
    let failed = |what| (what, Some(Arc::clone(&host)));
    let answered = if stream.upgrade().is_some() {
        let head = stream.request().clone();
        // Boxed, since few requests are upgrades and all would carry it.
        let sent = Box::pin(place.tunnel(head));
        let sent = clock.limit(body, log, pin!(sent)).await;
        sent.map(|sent| sent.map(|established| (established.response, Way::of(established.io))))
    } else {
        let sent = pin!(place.send(&stream.request(), body.for_attempt()));
        let sent = clock.limit(body, log, sent).await;
        sent.map(|sent| sent.map(|response| (response, Way::Http)))
    };
    match answered {
        Ok(Ok((response, way))) => {
            clock.answer_begins();
            Ok((response, way, host))
        }
        Ok(Err(reset)) => {
            clock.stream_ends();
            Err(failed(What::Reset { reset, request_was_sent: true }))
        }
        Err(time) => {
            clock.stream_ends();
            Err(failed(What::TimeUp(time)))
        }
    }
}

/// Takes a place on a connection to a host.
async fn acquire(request: &mut Request, host: &Arc<Host>) -> Result<PooledStream, Failed> {
    let stream = Rc::clone(&request.stream);
    let wanted = PoolRequest {
        downstream: Some(Rc::clone(&stream.info)),
        downstream_version: Some(stream.request().version),
        high_priority: request.forward().is_some_and(|forward| forward.high_priority),
    };
    let started = Instant::now();
    let Request { clock, body, cluster, .. } = request;
    let acquiring = pin!(upstream::acquire(stream.worker(), cluster, host, &wanted));
    let acquired = clock.limit(body, None, acquiring).await;
    stream.info.upstream.connection_pool_ready.set(Some(started.elapsed()));
    match acquired {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(failure)) => Err(pool_failure(failure, &stream.info)),
        Err(time @ TimeUp::Global) => Err((What::TimeUp(time), None)),
        Err(time) => Err((What::TimeUp(time), Some(Arc::clone(host)))),
    }
}

/// Notes what a failure to connect means.
pub(crate) fn pool_failure(failure: PoolFailure, info: &StreamInfo) -> Failed {
    let reason = match failure.reason {
        PoolFailureReason::PendingOverflow | PoolFailureReason::ConnectionOverflow => ResetReason::Overflow,
        PoolFailureReason::LocalConnectionFailure => ResetReason::LocalConnectionFailure,
        PoolFailureReason::RemoteConnectionFailure | PoolFailureReason::NoHealthyHost => {
            ResetReason::RemoteConnectionFailure
        }
        PoolFailureReason::Timeout => ResetReason::ConnectionTimeout,
    };
    // Where a circuit breaker refused, no host was asked.
    let host = failure.host.filter(|_| reason != ResetReason::Overflow);
    info.upstream.host.borrow_mut().clone_from(&host);
    host.clone().into_iter().for_each(|host| info.upstream.note_attempt(host));
    info.upstream.details.transport_failure_reason.borrow_mut().clone_from(&failure.transport_failure_reason);
    let reset = StreamReset {
        transport_failure_reason: failure.transport_failure_reason,
        ..StreamReset::from(reason)
    };
    (What::Reset { reset, request_was_sent: false }, host)
}

/// There is an upstream stream.
pub(crate) fn begin(request: &mut Request, host: &Arc<Host>, log: Option<&AttemptLog>) {
    request.clock.stream_begins();
    if let Some(stats) = &request.route.stats {
        stats.counters.upstream_rq_total.inc();
    }
    let stream = &request.stream;
    let upstream = &stream.info.upstream;
    upstream.note_attempt(Arc::clone(host));
    let shared = stream.info.filter_state.borrow();
    if !shared.is_empty() {
        *upstream.filter_state.borrow_mut() = shared.shared_with_upstream();
    }
    drop(shared);
    if let Some(forward) = request.forward().filter(|forward| forward.auto_host_rewrite)
        && !host.hostname.is_empty()
        && let Ok(hostname) = HeaderValue::from_str(&host.hostname)
    {
        let keep_original = !request.settings.suppress_envoy_headers;
        forward.rewrite_host_to(&mut stream.request_mut(), hostname, keep_original);
    }
    if let Some(log) = log {
        log.stream_begins();
    }
}

/// Picks a host. A retry passes over those that were tried, where its policy says so.
fn choose_host(request: &Request) -> Option<Arc<Host>> {
    let stream = &request.stream;
    let again = request.forward().and_then(|forward| forward.retry_policy.as_deref());
    let again = again.filter(|policy| request.attempt > 1 && policy.avoids_previous_hosts);
    with_balancing(request, |context| {
        let mut host = request.cluster.choose_host(context)?;
        let was_tried = |host: &Host| {
            stream.info.upstream.with_hosts_attempted(|tried| tried.iter().any(|other| other.id == host.id))
        };
        for _ in 0..again.map_or(0, |policy| policy.host_selection_max_attempts) {
            if !was_tried(&host) {
                break;
            }
            host = request.cluster.choose_host(context)?;
        }
        Some(host)
    })
}

/// Does something with what a load balancer goes by.
fn with_balancing<T>(request: &Request, act: impl FnOnce(&LoadBalancerContext<'_>) -> T) -> T {
    let stream = &request.stream;
    let head = stream.request();
    let headers = MessageHeaders::of_request(&head);
    let forward = request.forward();
    let of_route = forward.and_then(|forward| forward.metadata_match.as_deref());
    let merged = merged_with_dynamic(of_route, stream);
    act(&LoadBalancerContext {
        hash: request.hash(&head),
        metadata_match: merged.as_ref().or(of_route),
        downstream: Some(&stream.info),
        downstream_connection: Some(&stream.connection.info),
        headers: Some(&headers),
        high_priority: forward.is_some_and(|forward| forward.high_priority),
    })
}

/// What filters ask of a host (dynamic metadata under `envoy.lb`) goes over what the route asks.
pub(crate) fn merged_with_dynamic(
    of_route: Option<&BTreeMap<String, Value>>,
    stream: &HttpStream,
) -> Option<BTreeMap<String, Value>> {
    let metadata = stream.info.dynamic_metadata.borrow();
    let dynamic = metadata.namespace("envoy.lb")?;
    let mut merged = of_route.cloned().unwrap_or_default();
    merged.extend(dynamic.0.iter().map(|(key, value)| (key.clone(), value.clone())));
    Some(merged)
}

/// Forgets what is known of the attempt before.
fn forget_attempt(info: &StreamInfo) {
    let upstream = &info.upstream;
    upstream.host.take();
    upstream.local_address.set(None);
    upstream.remote_address.set(None);
    upstream.connection_id.take();
    upstream.details.transport_failure_reason.take();
    upstream.details.protocol.take();
    upstream.connect_started.take();
    upstream.connected.take();
    upstream.details.first_byte_sent.take();
    upstream.details.last_byte_sent.take();
    upstream.details.first_byte_received.take();
    upstream.details.last_byte_received.take();
}

/// Whether a request may become a stream of raw bytes by its method.
pub(crate) fn is_raw(method: &Method, allow_post: bool) -> bool {
    method == Method::CONNECT || allow_post && method == Method::POST
}
