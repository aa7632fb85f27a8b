//! The server's side of HTTP: reads requests from a connection, has each served, and writes the answers.
//!
//! [`serve`] finds out which HTTP a client speaks and runs the codec for it. What a request means is not decided here:
//! codecs call a [`RequestHandler`] (the connection manager), which makes an [`Exchange`] of each request, is told what
//! happens to it, and says when it has lived for too long.
//!
//! HTTP/1 is read by a codec of our own on top of `httparse`, since hyper's server answers errors itself, hides what
//! smuggling is made of (`content-length` beside `transfer-encoding`) and sends no trailers unasked; HTTP/2 is the `h2`
//! crate.

pub(crate) mod http1;
mod http2;
mod options;
mod sniff;
mod stats;

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use underpass_core::{connection::BoxFuture, io::BoxIo};

pub use self::{
    options::{CodecType, ServerOptions},
    stats::{CodecStats, Http1Stats, Http2Stats},
};
use crate::{Body, RequestHead, Response};

/// Serves the requests of one connection: the connection manager, as codecs see it.
pub trait RequestHandler {
    /// One request and its answer.
    type Exchange: Exchange + 'static;

    /// The codec is chosen.
    fn protocol(&self, http2: bool);

    /// A request begins: its first byte is there (HTTP/1), or its head (HTTP/2). The exchange ends when the last handle to
    /// it is dropped.
    fn begin(&self) -> Rc<Self::Exchange>;

    /// Ready when the connection shall end. Asked while no request is being served on HTTP/1, and always on HTTP/2.
    fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<Closing>;

    /// The connection ends because the client broke the protocol, outside of any request.
    fn protocol_error(&self);

    /// The connection ends because the client floods it. Says whether it was the requests that it resets.
    fn flooded(&self) -> bool;

    /// The client has closed or reset the connection.
    fn client_closed(&self);

    /// A client did not close its side in time (`delayed_close_timeout`).
    fn delayed_close_expired(&self);

    /// Bytes of the connection were read and written.
    fn transferred(&self, _received: usize, _sent: usize) {}
}

/// How a connection shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// At once.
    Now,
    /// HTTP/2 says that it goes away, and serves what is open. HTTP/1 without a request closes.
    Graceful,
}

/// One request and its answer, as a codec tells about it.
pub trait Exchange {
    /// Serves the request. The answer comes with all headers that it is to be sent with; `connection: close` closes an
    /// HTTP/1 connection after it.
    fn serve(&self, head: RequestHead, body: Body) -> BoxFuture<'_, Response>;

    /// The request is refused by the codec; the answer is what to send, if anything can be sent still.
    fn refuse(&self, refusal: Refusal) -> Response;

    /// The client has said that it sends no further request on this connection. Told before the request is served.
    fn last_request(&self);

    /// The codec sent `100 Continue`.
    fn continued(&self);

    /// The size of the request's head on the wire.
    fn head_received(&self, bytes: usize);

    /// A part of the request's body was received.
    fn data_received(&self, bytes: usize);

    /// The request is complete.
    fn request_complete(&self);

    /// The head of the answer is on its way.
    fn head_sent(&self, bytes: usize);

    /// A part of the answer's body was sent.
    fn data_sent(&self, bytes: usize);

    /// The trailers of the answer were sent.
    fn trailers_sent(&self, trailers: &HeaderMap);

    /// The answer is complete.
    fn response_complete(&self);

    /// The exchange ends before its time.
    fn reset(&self, reason: DownstreamReset);

    /// Ready when the exchange shall end before its time: with this answer, if none was sent yet. Not asked while the
    /// exchange serves and no answer is there.
    fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Option<Response>>;
}

/// Why a codec refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: StatusCode,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

impl Refusal {
    /// `400 Bad Request`.
    pub(crate) const fn bad_request(details: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, details }
    }
}

/// How an exchange ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownstreamReset {
    /// The client closed or reset the connection.
    Disconnected,
    /// The client reset the stream (HTTP/2).
    StreamReset,
    /// The client broke the protocol.
    ProtocolError(&'static str),
    /// This proxy does not accept the request (HTTP/2).
    Refused(&'static str),
    /// The upstream's body broke off, or this proxy gave up.
    Local,
}

/// Serves a connection until it is done.
pub async fn serve<H: RequestHandler>(io: BoxIo, options: &ServerOptions, handler: &H) {
    let (read, io, http2) = match options.codec {
        CodecType::Http1 => (BytesMut::new(), io, false),
        CodecType::Http2 => (BytesMut::new(), io, true),
        CodecType::Auto => match sniff::sniff(io, handler).await {
            Some(sniffed) => sniffed,
            None => return,
        },
    };
    handler.protocol(http2);
    if http2 {
        http2::serve(read, io, options, handler).await;
    } else {
        http1::serve(read, io, options, handler).await;
    }
}

#[cfg(test)]
mod tests;
