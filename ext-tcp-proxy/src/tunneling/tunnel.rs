//! Opening a tunnel.

use std::{rc::Rc, time::Duration};

use http::{HeaderMap, StatusCode};
use tokio::time::timeout;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    cluster::{ClusterInfo, PoolFailure, PoolFailureReason},
    connection::BoxFuture,
    io::BoxIo,
    runtime::{
        RuntimeSnapshot, TUNNEL_ANY_SUCCESS, TUNNEL_HALF_CLOSE, TUNNEL_REFUSAL_STATUS,
        TUNNEL_RESPONSE_TIMEOUT,
    },
    stream_info::{SharedStreamInfo, StreamInfo},
    user_space_socket::Refusal,
};
use underpass_http::{
    Body, RequestHead,
    body_io::BodyIo,
    reset::StreamReset,
    upstream::{PoolRequest, PooledStream, Protocol, Trailers, acquire},
};

use super::{
    TunnelingConfig,
    propagation::{RESPONSE_HEADERS, RESPONSE_TRAILERS, propagate},
    request::TunnelRequest,
    whole_close::{ForClient, WholeClose},
};
use crate::upstream::{Attempt, OpenFailure, Upstream, UpstreamKind};

/// The way through a tunnel, for all connections of one filter.
pub(crate) struct Tunnel {
    request: TunnelRequest,
    propagates_headers: bool,
    propagates_trailers: bool,
    any_success: bool,
    half_closes: bool,
    tells_refusal: bool,
    response_timeout: ResponseTimeout,
}

/// How long the proxy may take to answer.
enum ResponseTimeout {
    None,
    /// As long as connecting may take.
    ConnectTimeout,
    Fixed(Duration),
}

/// The trailers of the answer, which end a tunnel, and whether they are wanted.
pub(crate) struct ResponseTrailers(Trailers);

impl ResponseTrailers {
    /// Leaves them in the filter state, if there were any.
    pub(crate) fn propagate(self, info: &StreamInfo) {
        if let Some(trailers) = self.0.get() {
            propagate(RESPONSE_TRAILERS, None, trailers.clone(), info);
        }
    }
}

/// What the proxy answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// The tunnel, if there is one.
    io: Option<BoxIo>,
    /// Whether the answer is complete with its head, which in Envoy is no tunnel.
    ended: bool,
    trailers: Trailers,
}

impl Tunnel {
    pub(crate) fn build(config: &TunnelingConfig, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let runtime = context.server.runtime.snapshot();
        Ok(Self {
            request: TunnelRequest::build(config, context)?,
            propagates_headers: config.propagate_response_headers,
            propagates_trailers: config.propagate_response_trailers,
            any_success: runtime.feature(TUNNEL_ANY_SUCCESS),
            half_closes: runtime.feature(TUNNEL_HALF_CLOSE),
            tells_refusal: runtime.feature(TUNNEL_REFUSAL_STATUS),
            response_timeout: ResponseTimeout::of(&runtime),
        })
    }

    async fn open_one(&self, attempt: Attempt<'_>) -> Result<Upstream, OpenFailure> {
        let Attempt { worker, cluster, context, info, hop } = attempt;
        let failed = |reason| PoolFailure { reason, transport_failure_reason: None, host: None };
        // As Envoy's tcp_proxy does before it asks a pool, although a stream may need no connection of its own.
        if !cluster.info().circuit_breakers.of(context.high_priority).connections.has_room() {
            cluster.info().stats.upstream_cx_overflow.inc();
            return Err(failed(PoolFailureReason::ConnectionOverflow).into());
        }
        let host = cluster.choose_host(context).ok_or_else(|| failed(PoolFailureReason::NoHealthyHost))?;
        let request = PoolRequest { downstream: Some(Rc::clone(info)), ..PoolRequest::default() };
        let mut place = acquire(worker, cluster, &host, &request).await?;
        place.note(info);
        if let Some(hop) = hop {
            hop.ask();
        }
        info.upstream.note_attempt(host);
        // The tunnel's protocol is not that of the client's bytes.
        info.upstream.details.protocol.set(None);
        // As in Envoy, these are known once there is a tunnel.
        info.upstream.local_address.set(None);
        info.upstream.remote_address.set(None);
        self.open_on(place, cluster.info(), info).await
    }

    async fn open_on(
        &self,
        place: PooledStream,
        cluster: &ClusterInfo,
        info: &SharedStreamInfo,
    ) -> Result<Upstream, OpenFailure> {
        let protocol = place.protocol();
        let addresses = (place.local_address().cloned(), place.remote_address().clone());
        let cluster_info = place.cluster().clone();
        let is_secure = cluster.transport_socket.as_ref().is_some_and(|transport| transport.is_secure());
        let head = self.request.head(info, is_secure);
        let head = head.ok_or_else(|| no_tunnel("the hostname of the tunnel is not a header value"))?;
        let asking = self.ask(place, head, cluster.buffer_limit);
        let answer = match self.response_timeout.of_cluster(cluster) {
            Some(limit) => timeout(limit, asking).await.map_err(|_| {
                cluster.stats.upstream_rq_timeout.inc();
                no_tunnel("tunnel_response_timeout")
            })?,
            None => asking.await,
        };
        let Answer { status, headers, io, ended, trailers } = answer.map_err(|reset| self.reset(reset))?;
        if self.propagates_headers {
            propagate(RESPONSE_HEADERS, Some(status), headers, info);
        }
        let io =
            io.filter(|_| !ended && self.is_success(status, protocol)).ok_or_else(|| self.refused(status))?;
        info.upstream.local_address.set(addresses.0);
        info.upstream.remote_address.set(Some(addresses.1));
        let (io, for_client) = self.ending(io, protocol);
        Ok(Upstream {
            io,
            cluster: cluster_info,
            lease: None,
            for_client,
            trailers: self.propagates_trailers.then_some(ResponseTrailers(trailers)),
        })
    }

    async fn ask(
        &self,
        place: PooledStream,
        head: RequestHead,
        buffer_limit: usize,
    ) -> Result<Answer, StreamReset> {
        // A POST over HTTP/2 is a stream like that of a CONNECT. Over HTTP/1.1 its bodies are in chunks.
        if !self.request.is_post() || place.protocol() == Protocol::Http2 {
            let answer = place.tunnel(head).await?;
            let (response, _) = answer.response.into_parts();
            let (status, headers) = (response.status, response.headers);
            return Ok(Answer {
                status,
                headers,
                io: answer.io,
                ended: answer.ended,
                trailers: answer.trailers,
            });
        }
        let (sender, body) = Body::channel(buffer_limit);
        let (response, body) = place.send(&head, body).await?.into_parts();
        let ended = http_body::Body::is_end_stream(&body);
        let io = BodyIo::new(body, sender, None);
        let trailers = Rc::clone(io.trailers());
        let (status, headers) = (response.status, response.headers);
        Ok(Answer { status, headers, io: Some(Box::new(io)), ended, trailers })
    }

    /// How a tunnel ends, and the client with it.
    fn ending(&self, io: BoxIo, protocol: Protocol) -> (BoxIo, Option<ForClient>) {
        if self.half_closes {
            return (io, None);
        }
        let io = match protocol {
            Protocol::Http1 => WholeClose::http1(io),
            Protocol::Http2 => WholeClose::http2(io),
        };
        let for_client = io.for_client();
        (Box::new(io), Some(for_client))
    }

    fn is_success(&self, status: StatusCode, protocol: Protocol) -> bool {
        status == StatusCode::OK || status.is_success() && (self.any_success || protocol == Protocol::Http1)
    }

    fn refused(&self, status: StatusCode) -> OpenFailure {
        let reason = format!("tunnel_response:{}", status.as_str());
        let tells = self.tells_refusal && status.as_u16() >= 300;
        let refusal = tells.then(|| Refusal { status: status.as_u16(), reason: reason.clone() });
        OpenFailure::Tunnel { reason: Some(reason), refusal }
    }

    fn reset(&self, reset: StreamReset) -> OpenFailure {
        let refusal = reset.refusal.filter(|_| self.tells_refusal);
        OpenFailure::Tunnel { reason: reset.transport_failure_reason, refusal }
    }
}

fn no_tunnel(reason: &str) -> OpenFailure {
    OpenFailure::Tunnel { reason: Some(reason.replace(' ', "_")), refusal: None }
}

impl ResponseTimeout {
    fn of(runtime: &RuntimeSnapshot) -> Self {
        if !runtime.feature(TUNNEL_RESPONSE_TIMEOUT) {
            return Self::None;
        }
        match runtime.integer("underpass.tunnel_response_timeout_ms", 0) {
            0 => Self::ConnectTimeout,
            ms => Self::Fixed(Duration::from_millis(ms)),
        }
    }

    fn of_cluster(&self, cluster: &ClusterInfo) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::ConnectTimeout => Some(cluster.connect_timeout),
            Self::Fixed(limit) => Some(*limit),
        }
    }
}

impl UpstreamKind for Tunnel {
    fn open<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, Result<Upstream, OpenFailure>> {
        Box::pin(self.open_one(attempt))
    }
}
