//! The body of a request or an answer: frames of data, and trailers.

mod channel;
mod http2;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

pub use self::channel::{BodySender, BodyUnwanted};
use self::{channel::ChannelBody, http2::Http2Body};
use crate::{
    reset::{StreamGuard, StreamReset},
    tunnel::Tunnel,
    upstream::Http1Answer,
};

/// Why a body broke off.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The stream was reset, or its connection ended.
    #[error(transparent)]
    Reset(#[from] StreamReset),
    /// A limit on its size was passed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

/// A body. It belongs to one worker; nothing is boxed for the kinds that codecs make.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Http1Answer(Box<Http1Answer>),
    Http2(Http2Body),
    Channel(ChannelBody),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError>>>),
    Tunnel(Tunnel),
}

impl Body {
    /// No body at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All of a body at once.
    pub fn full(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        if data.is_empty() { Self::empty() } else { Self(Kind::Full(data)) }
    }

    /// What an HTTP/1 upstream answers; reading it drives the connection.
    pub(crate) fn http1_answer(answer: Http1Answer) -> Self {
        Self(Kind::Http1Answer(Box::new(answer)))
    }

    /// What an HTTP/2 stream receives. Reading it gives the sender its window back. `guard` is told of its end.
    pub fn http2(stream: h2::RecvStream, guard: Option<Box<dyn StreamGuard>>) -> Self {
        let body = Http2Body::new(stream, guard);
        if body.is_end_stream() { Self::empty() } else { Self(Kind::Http2(body)) }
    }

    /// A body that is written by hand. The sender is held back when about `limit` bytes wait to be read.
    pub fn channel(limit: usize) -> (BodySender, Self) {
        let (sender, body) = channel::channel(limit);
        (sender, body.into_body())
    }

    /// Any other body.
    pub fn boxed(body: impl http_body::Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self(Kind::Boxed(Box::pin(body)))
    }

    /// In an answer: from here on raw bytes pass both ways. The codec sends the head and runs the tunnel.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self(Kind::Tunnel(tunnel))
    }

    /// Takes the tunnel out, if it is one.
    ///
    /// # Errors
    /// The body itself, if it is none.
    pub fn into_tunnel(self) -> Result<Tunnel, Self> {
        match self.0 {
            Kind::Tunnel(tunnel) => Ok(tunnel),
            other => Err(Self(other)),
        }
    }

    /// Whether the answer goes on as a tunnel.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.0, Kind::Tunnel(_))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty | Kind::Tunnel(_) => Poll::Ready(None),
            Kind::Full(data) => {
                let data = std::mem::take(data);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Kind::Http1Answer(body) => body.poll_frame(cx),
            Kind::Http2(body) => body.poll_frame(cx),
            Kind::Channel(body) => body.poll_frame(cx),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Tunnel(_) => true,
            Kind::Full(data) => data.is_empty(),
            Kind::Http1Answer(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
            Kind::Channel(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty | Kind::Tunnel(_) => SizeHint::with_exact(0),
            Kind::Full(data) => SizeHint::with_exact(data.len() as u64),
            Kind::Http1Answer(body) => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
            Kind::Channel(_) => SizeHint::default(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Kind::Empty => "Body(empty)",
            Kind::Full(_) => "Body(full)",
            Kind::Http1Answer(_) => "Body(HTTP/1)",
            Kind::Http2(_) => "Body(HTTP/2)",
            Kind::Channel(_) => "Body(channel)",
            Kind::Boxed(_) => "Body(boxed)",
            Kind::Tunnel(_) => "Body(tunnel)",
        })
    }
}
