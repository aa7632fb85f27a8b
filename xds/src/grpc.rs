//! gRPC on an HTTP/2 stream, as far as a control plane's client needs it: one request stream, one response stream.
//!
//! The connection comes from the pools that HTTP requests use, so the cluster's transport socket, circuit breakers, HTTP/2
//! options and stats count here, too. <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

mod frames;
mod status;

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, uri::PathAndQuery, uri::Scheme};
use http_body::Body as _;
use underpass_core::{cluster::LoadBalancerContext, worker::Worker};
use underpass_http::{
    Body, RequestHead, Response,
    body::BodySender,
    reset::StreamReset,
    upstream::{PoolRequest, acquire},
};

use self::frames::{Frames, frame};
pub use self::status::{Code, Status};

/// Requests that wait to be sent, in bytes, beyond which nothing is read. Each response is answered, so a control plane that
/// does not read, or not as fast as it sends, would fill the memory otherwise.
const SEND_BUFFER: usize = 1024 * 1024;

/// Where and how a stream is opened.
#[derive(Debug, Clone)]
pub struct Target {
    /// The cluster.
    pub cluster: String,
    /// `:authority`.
    pub authority: HeaderValue,
    /// The method: `/package.Service/Method`.
    pub method: PathAndQuery,
    /// Headers to add.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
    /// How large a message may be that is received.
    pub max_message: Option<usize>,
}

/// A stream in both directions. Dropping it resets it.
pub struct GrpcStream {
    requests: BodySender,
    answer: Answer,
    frames: Frames,
}

enum Answer {
    /// The head is not there yet.
    Awaited(Pin<Box<dyn Future<Output = Result<Response, StreamReset>>>>),
    Body(Body),
    Ended,
}

impl GrpcStream {
    /// Opens a stream. A response need not have come when it returns: many servers answer only when they have something to
    /// say.
    ///
    /// # Errors
    /// If there is no connection to be had.
    pub async fn open(worker: Rc<Worker>, target: Arc<Target>) -> Result<Self, Status> {
        let unavailable = |message: String| Status { code: Code::UNAVAILABLE, message };
        let clusters = worker.cluster_manager();
        let cluster = clusters.and_then(|clusters| clusters.cluster(&target.cluster));
        let cluster =
            cluster.ok_or_else(|| unavailable(format!("there is no cluster '{}'", target.cluster)))?;
        let host = cluster.choose_host(&LoadBalancerContext::default());
        let host = host.ok_or_else(|| unavailable("no healthy upstream".to_owned()))?;
        let place = acquire(&worker, &cluster, &host, &PoolRequest::default()).await;
        let place = place.map_err(|failure| {
            unavailable(format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {failure}"
            ))
        })?;
        let (requests, body) = Body::channel(SEND_BUFFER);
        let answer = place.send(&head(&target), body);
        Ok(Self {
            requests,
            answer: Answer::Awaited(Box::pin(answer)),
            frames: Frames::new(target.max_message),
        })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the stream is gone; [`next`](Self::next) says why.
    pub fn send(&mut self, message: &[u8]) -> Result<(), StreamGone> {
        self.requests.send(frame(message)).map_err(|_| StreamGone)
    }

    /// The next message; none while too many requests wait to be sent. May be dropped and called again without losing
    /// anything.
    ///
    /// # Errors
    /// How the stream ended; it does in order, too (code 0).
    pub async fn next(&mut self) -> Result<Bytes, Status> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        // If nobody takes requests any more, the answer says why.
        let _ = ready!(self.requests.poll_ready(cx));
        loop {
            match self.frames.next() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            match &mut self.answer {
                Answer::Ended => return Poll::Ready(Err(Status::ok())),
                Answer::Awaited(answer) => {
                    let outcome = ready!(answer.as_mut().poll(cx));
                    self.answer = Answer::Ended;
                    let (parts, body) = outcome.map_err(|reset| Status::from(&reset))?.into_parts();
                    // A response that is nothing but trailers has its status in the head.
                    if let Some(status) = Status::of(&parts.headers) {
                        return Poll::Ready(Err(status));
                    }
                    if !parts.status.is_success() {
                        return Poll::Ready(Err(Status::from(parts.status)));
                    }
                    self.answer = Answer::Body(body);
                }
                Answer::Body(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                    None => return self.ended(Status::without_trailers()),
                    Some(Err(error)) => {
                        return self.ended(Status { code: Code::UNAVAILABLE, message: error.to_string() });
                    }
                    Some(Ok(part)) => match part.into_data() {
                        Ok(data) => self.frames.push(&data),
                        Err(part) => {
                            let trailers = part.into_trailers().unwrap_or_default();
                            return self
                                .ended(Status::of(&trailers).unwrap_or_else(Status::without_trailers));
                        }
                    },
                },
            }
        }
    }

    fn ended(&mut self, status: Status) -> Poll<Result<Bytes, Status>> {
        self.answer = Answer::Ended;
        Poll::Ready(Err(status))
    }
}

/// The stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is gone")]
pub struct StreamGone;

fn head(target: &Target) -> RequestHead {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (name, value) in &target.metadata {
        headers.append(name, value.clone());
    }
    RequestHead {
        method: Method::POST,
        scheme: Scheme::HTTP,
        authority: target.authority.clone(),
        path: Some(target.method.clone()),
        headers,
        version: Version::HTTP_2,
    }
}
