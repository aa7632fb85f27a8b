//! The end of a CONNECT: its bytes go on by a TCP connection of their own to a host of the cluster.
//!
//! The client is told of success once that connection is there. A POST is treated the same where the route says so
//! (`allow_post`): what it sends goes on as it is, and what the host sends is the answer's body.

use std::{pin::pin, rc::Rc, sync::Arc};

use http::StatusCode;
use tokio::{io::AsyncWriteExt, time::Instant};
use underpass_core::{
    cluster::{LoadBalancerContext, PoolFailureReason, UpstreamConnection},
    proxy_protocol::{Subject, v1, v2},
    stream_info::StreamInfo,
};
use underpass_http::{
    HttpStream, message_headers::MessageHeaders, reset::ResetReason, route::config::ProxyProtocolVersion,
};

use crate::{
    answer::{Answer, Way, no_body},
    attempt::{self, Outcome, begin, is_raw, pool_failure},
    failure::{Failure, What},
    request::Request,
    upstream_log::AttemptLog,
};

/// Whether a request ends here and its bytes go on without it.
pub(crate) fn ends_here(request: &Request) -> bool {
    let config = request.forward().and_then(|forward| forward.connect_config());
    config.is_some_and(|config| is_raw(&request.stream.request().method, config.allow_post))
}

/// Makes one attempt to connect.
pub(crate) async fn attempt(request: &mut Request) -> Outcome {
    if request.attempt == 1 {
        request.finalize_head();
    }
    let log = AttemptLog::start(request);
    let stream = Rc::clone(&request.stream);
    let started = Instant::now();
    let opened = open(request, log.as_deref()).await;
    stream.info.upstream.connection_pool_ready.set(Some(started.elapsed()));
    let mut connection = match opened {
        Ok(Ok(connection)) => connection,
        Ok(Err(failure)) if failure.reason == PoolFailureReason::NoHealthyHost => return Outcome::NoHost,
        Ok(Err(failure)) => {
            let (what, host) = pool_failure(failure, &stream.info);
            return Outcome::Failed(Box::new(Failure { what, host, log }));
        }
        Err(time) => {
            let what = What::TimeUp(time);
            return Outcome::Failed(Box::new(Failure { what, host: None, log }));
        }
    };
    note(&connection, &stream.info);
    let host = Arc::clone(&connection.host);
    begin(request, &host, log.as_deref());
    let proxy_protocol = request.forward().and_then(|forward| forward.connect_config()?.proxy_protocol);
    if let Some(version) = proxy_protocol
        && connection.io.write_all(&proxy_header(version, &stream)).await.is_err()
    {
        let reset = ResetReason::ConnectionTermination.into();
        let what = What::Reset { reset, request_was_sent: true };
        return Outcome::Failed(Box::new(Failure { what, host: Some(host), log }));
    }
    let mut response = no_body();
    *response.status_mut() = StatusCode::OK;
    let way = Way::Connection(Box::new(connection));
    Outcome::Answered(Box::new(Answer { response, way, host, log }))
}

type Opened = Result<UpstreamConnection, underpass_core::cluster::PoolFailure>;

async fn open(request: &mut Request, log: Option<&AttemptLog>) -> Result<Opened, crate::clock::TimeUp> {
    let stream = Rc::clone(&request.stream);
    let route = Arc::clone(&request.route);
    let forward = route.forward();
    // A copy, since nobody may hold the head while others wait.
    let head = stream.request().clone();
    let headers = MessageHeaders::of_request(&head);
    let of_route = forward.and_then(|forward| forward.metadata_match.as_deref());
    let merged = attempt::merged_with_dynamic(of_route, &stream);
    let context = LoadBalancerContext {
        hash: request.hash(&head),
        metadata_match: merged.as_ref().or(of_route),
        downstream: Some(&stream.info),
        downstream_connection: Some(&stream.connection.info),
        headers: Some(&headers),
        high_priority: forward.is_some_and(|forward| forward.high_priority),
    };
    let Request { clock, body, cluster, .. } = request;
    clock.limit(body, log, pin!(cluster.open_tcp(&context))).await
}

/// Leaves in `info` what is to be known of the connection.
fn note(connection: &UpstreamConnection, info: &StreamInfo) {
    let upstream = &info.upstream;
    upstream.local_address.set(connection.local_address.clone());
    upstream.remote_address.set(Some(connection.remote_address.clone()));
    upstream.note_connection(&connection.host, connection.connection_id);
}

/// The header that tells the host who the client is. TLVs of the client's own header do not go along, as in Envoy.
fn proxy_header(version: ProxyProtocolVersion, stream: &HttpStream) -> Vec<u8> {
    let addresses = stream.connection.info.addresses.borrow();
    let endpoints = addresses.remote().socket().zip(addresses.local().socket());
    match version {
        ProxyProtocolVersion::V1 => v1(endpoints),
        ProxyProtocolVersion::V2 => v2(endpoints.map_or(Subject::Local, Subject::Stream), &[]).0,
    }
}
